#include "grammar/gbnf.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "base/error.h"
#include "grammar/character_classes.h"
#include "text/utf8.h"

namespace quire {
namespace {

constexpr size_t kNodesPerCheck = 256;  // of time

struct Node {
  enum class Kind : uint8_t { kRegex, kRule, kSpecial, kSequence, kChoice, kRepeat };
  Kind kind = Kind::kRegex;
  Regex regex = {};
  size_t rule = 0;
  std::string name = {};           // of a special token
  std::vector<size_t> parts = {};  // of a repetition: one
  int64_t min = 0, max = 0;
  int depth = 0;  // of the nodes in it: set by add()
};

struct Rule {
  std::string name = {};
  std::optional<size_t> body = {};
  size_t line = 0;  // of its definition, else of its first use
};

// The text as nodes. Line breaks count as blanks: what follows a rule is seen by its "::=".
class GbnfReader {
 public:
  GbnfReader(GrammarBuilder& builder, std::string_view text, const GrammarLimits& limits)
      : builder_(builder), limits_(limits), text_(text) {
    if (text.size() > limits.max_text_bytes) {
      fail(ErrorCode::kLimit, "a grammar of {} bytes; at most {} are read", text.size(), limits.max_text_bytes);
    }
    if (!is_valid_utf8(text)) fail(ErrorCode::kInvalidArgument, "a grammar is not valid UTF-8");
  }

  void read() {
    skip_blanks();
    while (at_ < text_.size()) {
      const std::string name = word();
      if (name.empty()) refuse("a rule's name is expected");
      skip_blanks();
      if (!take("::=")) refuse("'::=' is expected after a rule's name");
      Rule& rule = rules_[rule_index(name)];
      if (rule.body) refuse("the rule '" + name + "' is defined twice");
      rule.line = line();
      const size_t index = rule_index(name);
      const size_t body = alternatives();
      rules_[index].body = body;
      if (at_ < text_.size() && text_[at_] == ')') refuse("a ')' without its '('");
    }
    for (const Rule& rule : rules_) {
      if (!rule.body) {
        fail(ErrorCode::kInvalidArgument, "grammar, line {}: the rule '{}' is used but not defined", rule.line,
             rule.name);
      }
    }
    if (!rule_ids_.contains("root")) fail(ErrorCode::kInvalidArgument, "a grammar without a rule 'root'");
  }

  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Rule>& rules() const { return rules_; }
  size_t root() const { return rule_ids_.at("root"); }

 private:
  // Each call counts on from where the last one stopped.
  size_t line() {
    const size_t end = std::max(line_end_, std::min(at_, text_.size()));
    line_ += static_cast<size_t>(std::ranges::count(text_.substr(line_end_, end - line_end_), '\n'));
    line_end_ = end;
    return line_;
  }
  [[noreturn]] void refuse(const std::string& what, ErrorCode code = ErrorCode::kInvalidArgument) {
    fail(code, "grammar, line {}: {}", line(), what);
  }

  void skip_blanks() {
    while (at_ < text_.size()) {
      if (text_[at_] == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) {
        ++at_;
      } else {
        return;
      }
    }
  }

  bool take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  }

  // A name; a '.' alone is none.
  std::string word() {
    const size_t begin = at_;
    if (at_ < text_.size() && text_[at_] == '.') return {};
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  // Whether a definition begins here.
  bool sees_rule() {
    const size_t before = at_;
    const bool is_rule = !word().empty() && (skip_blanks(), take("::="));
    at_ = before;
    return is_rule;
  }

  size_t rule_index(const std::string& name) {
    const auto [entry, is_new] = rule_ids_.try_emplace(name, rules_.size());
    if (is_new) rules_.push_back({.name = name, .line = line()});
    return entry->second;
  }

  size_t add(Node node) {
    if (nodes_.size() >= 4 * limits_.max_nodes) refuse("the grammar is too large", ErrorCode::kLimit);
    for (const size_t part : node.parts) node.depth = std::max(node.depth, nodes_[part].depth + 1);
    // A group is up to three nodes deep: what stands within is a choice of sequences of repetitions.
    if (node.depth > 4 * limits_.max_depth) refuse("repetitions are nested too deep", ErrorCode::kLimit);
    if (nodes_.size() % kNodesPerCheck == 0) builder_.check_time();
    nodes_.push_back(std::move(node));
    return nodes_.size() - 1;
  }

  size_t alternatives() {
    if (++depth_ > limits_.max_depth) refuse("groups are nested too deep", ErrorCode::kLimit);
    std::vector<size_t> choices;
    do {
      choices.push_back(sequence());
    } while (take("|"));
    --depth_;
    if (choices.size() == 1) return choices[0];
    return add({.kind = Node::Kind::kChoice, .parts = std::move(choices)});
  }

  size_t sequence() {
    std::vector<size_t> parts;
    for (skip_blanks(); at_ < text_.size() && text_[at_] != '|' && text_[at_] != ')' && !sees_rule(); skip_blanks()) {
      size_t part = element();
      while (const auto bounds = repetition()) {
        part = add({.kind = Node::Kind::kRepeat, .parts = {part}, .min = bounds->first, .max = bounds->second});
      }
      parts.push_back(part);
    }
    if (parts.size() == 1) return parts[0];
    return add({.kind = Node::Kind::kSequence, .parts = std::move(parts)});
  }

  size_t element() {
    const char c = text_[at_];
    if (c == '"' || c == '\'') return add({.regex = builder_.literal(literal(c))});
    if (c == '[') return add({.regex = builder_.character(characters())});
    if (take("(")) {
      if (text_.substr(at_).starts_with("=")) refuse("look-ahead is not supported", ErrorCode::kUnsupported);
      const size_t inner = alternatives();
      if (!take(")")) refuse("a '(' without its ')'");
      return inner;
    }
    if (take(".")) return add({.regex = builder_.any_character()});
    if (c == '<') return add({.kind = Node::Kind::kSpecial, .name = special_name()});
    const std::string name = word();
    if (name.empty()) refuse("'" + printable(text_.substr(at_, utf8_size(c))) + "' is not expected here");
    return add({.kind = Node::Kind::kRule, .rule = rule_index(name)});
  }

  std::string special_name() {
    const size_t end = text_.find('>', at_);
    if (end == std::string_view::npos) refuse("a '<' without its '>'");
    const std::string_view name = text_.substr(at_, end + 1 - at_);
    if (name.starts_with("<[")) refuse("tokens by number are not supported: write <name>", ErrorCode::kUnsupported);
    if (name.find_first_of(" \t\r\n") != std::string_view::npos) refuse("a '<' without its '>'");
    at_ = end + 1;
    return std::string(name);
  }

  std::optional<std::pair<int64_t, int64_t>> repetition() {
    skip_blanks();
    if (take("*")) return std::pair<int64_t, int64_t>(0, kNoMaximum);
    if (take("+")) return std::pair<int64_t, int64_t>(1, kNoMaximum);
    if (take("?")) return std::pair<int64_t, int64_t>(0, 1);
    if (!take("{")) return std::nullopt;
    const auto first = number();
    int64_t min = first.value_or(0), max = min;
    skip_blanks();
    const bool is_range = take(",");
    if (is_range) max = number().value_or(kNoMaximum);
    skip_blanks();
    if (!take("}") || (!first && !is_range)) refuse("a repetition is {m}, {m,}, {m,n} or {,n}");
    if (max != kNoMaximum && max < min) refuse("a repetition whose bounds are reversed");
    if (std::max(min, max) > limits_.max_repeats) refuse("a repetition counts too far", ErrorCode::kLimit);
    return std::pair(min, max);
  }

  std::optional<int64_t> number() {
    skip_blanks();
    if (at_ >= text_.size() || text_[at_] < '0' || text_[at_] > '9') return std::nullopt;
    int64_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      value = std::min<int64_t>(10 * value + (text_[at_] - '0'), int64_t{1} << 40);
    }
    return value;
  }

  char32_t hexadecimal(int num_digits) {
    char32_t value = 0;
    for (int i = 0; i < num_digits; ++i, ++at_) {
      const char c = at_ < text_.size() ? text_[at_] : ' ';
      const bool is_letter = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
      if (!is_letter && (c < '0' || c > '9')) refuse("an escape lacks hexadecimal digits");
      value = 16 * value + static_cast<char32_t>(is_letter ? (c | 0x20) - 'a' + 10 : c - '0');
    }
    if (value > 0x10FFFF) refuse("an escape beyond U+10FFFF");
    return value;
  }

  // One character of a literal or of a class, escapes read.
  char32_t character() {
    if (at_ >= text_.size()) refuse("a literal or a class does not end");
    if (!take("\\")) {
      const Utf8Character one = decode_utf8(text_, at_);
      at_ += one.size;
      return one.code;
    }
    if (at_ >= text_.size()) refuse("a '\\' at the end");
    const char c = text_[at_++];
    switch (c) {
      case 'n': return '\n';
      case 'r': return '\r';
      case 't': return '\t';
      case 'x': return hexadecimal(2);
      case 'u': return hexadecimal(4);
      case 'U': return hexadecimal(8);
      default: break;
    }
    if (is_word(c) && c != '-' && c != '.' && c != '_') refuse(std::string("an unknown escape \\") + c);
    --at_;
    const Utf8Character one = decode_utf8(text_, at_);
    at_ += one.size;
    return one.code;
  }

  std::string literal(char quote) {
    ++at_;
    std::string out;
    while (at_ < text_.size() && text_[at_] != quote) append_utf8(out, character());
    if (at_ >= text_.size()) refuse("a literal does not end");
    ++at_;
    return out;
  }

  CharacterRanges characters() {
    ++at_;
    const bool is_inverse = take("^");
    CharacterRanges ranges;
    while (at_ < text_.size() && text_[at_] != ']') {
      const char32_t first = character();
      char32_t last = first;
      if (at_ + 1 < text_.size() && text_[at_] == '-' && text_[at_ + 1] != ']') {
        ++at_;
        last = character();
      }
      if (last < first) refuse("a range whose bounds are reversed");
      ranges.emplace_back(first, last);
    }
    if (at_ >= text_.size()) refuse("a class does not end");
    ++at_;
    return is_inverse ? inverse(std::move(ranges)) : ranges;
  }

  GrammarBuilder& builder_;
  GrammarLimits limits_;
  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  size_t line_ = 1, line_end_ = 0;  // the line of the place up to which lines were counted
  std::vector<Node> nodes_;
  std::vector<Rule> rules_;
  std::map<std::string, size_t> rule_ids_;
};

// Nodes as symbols. A rule without recursion and without special tokens is one regular language: characters that a
// grammar repeats one by one become one terminal, whose masks are found at once.
class GbnfSymbols {
 public:
  GbnfSymbols(GrammarBuilder& builder, const std::vector<Node>& nodes, const std::vector<Rule>& rules)
      : builder_(builder), nodes_(nodes), rules_(rules), regular_(rules.size()), symbols_(rules.size()) {}

  Symbol make(size_t root) {
    make_regular_rules();
    mark_regular_nodes();
    for (size_t rule = 0; rule < rules_.size(); ++rule) {
      if (!regular_[rule]) symbols_[rule] = builder_.declare(rules_[rule].name);
    }
    for (size_t rule = 0; rule < rules_.size(); ++rule) {
      if (!regular_[rule]) builder_.define(*symbols_[rule], symbol(*rules_[rule].body));
    }
    return rule_symbol(root);
  }

 private:
  // Rules become regular when all that they use have.
  void make_regular_rules() {
    std::vector<std::vector<size_t>> users(rules_.size());
    std::vector<size_t> missing(rules_.size());
    std::vector<size_t> open;
    for (size_t rule = 0; rule < rules_.size(); ++rule) {
      std::vector<size_t> used;
      const bool may_be_regular = collect(*rules_[rule].body, used);
      std::ranges::sort(used);
      used.erase(std::unique(used.begin(), used.end()), used.end());
      missing[rule] = used.size() + (may_be_regular ? 0 : 1);
      for (const size_t one : used) users[one].push_back(rule);
      if (missing[rule] == 0) open.push_back(rule);
    }
    while (!open.empty()) {
      const size_t rule = open.back();
      open.pop_back();
      regular_[rule] = regex(*rules_[rule].body);
      for (const size_t user : users[rule]) {
        if (--missing[user] == 0) open.push_back(user);
      }
    }
  }

  // The rules that a node uses; false where there is a special token. As deep as the text is nested.
  bool collect(size_t id, std::vector<size_t>& used) const {
    const Node& node = nodes_[id];
    if (node.kind == Node::Kind::kRule) used.push_back(node.rule);
    bool is_regular = node.kind != Node::Kind::kSpecial;
    for (const size_t part : node.parts) is_regular = collect(part, used) && is_regular;
    return is_regular;
  }

  // A node's parts come before it.
  void mark_regular_nodes() {
    for (const Node& node : nodes_) {
      const bool is_regular = node.kind == Node::Kind::kRule
                                  ? regular_[node.rule].has_value()
                                  : node.kind != Node::Kind::kSpecial &&
                                        std::ranges::all_of(node.parts, [&](size_t part) { return is_regular_[part]; });
      is_regular_.push_back(is_regular);
    }
  }

  Regex regex(size_t id) {
    const Node& node = nodes_[id];
    std::vector<Regex> parts;
    for (const size_t part : node.parts) parts.push_back(regex(part));
    switch (node.kind) {
      case Node::Kind::kRule: return *regular_[node.rule];
      case Node::Kind::kSequence: return builder_.concat(parts);
      case Node::Kind::kChoice: return builder_.any_of(parts);
      case Node::Kind::kRepeat: return builder_.repeat(parts[0], node.min, node.max);
      default: return node.regex;
    }
  }

  Symbol symbol(size_t id) {
    const Node& node = nodes_[id];
    if (node.kind == Node::Kind::kRule) return rule_symbol(node.rule);
    if (node.kind == Node::Kind::kSpecial) return builder_.special(node.name);
    if (is_regular_[id]) return builder_.terminal(regex(id));
    std::vector<Symbol> parts;
    for (const size_t part : node.parts) parts.push_back(symbol(part));
    if (node.kind == Node::Kind::kSequence) return builder_.sequence(parts);
    if (node.kind == Node::Kind::kChoice) return builder_.choice(parts);
    return builder_.repeat(parts[0], node.min, node.max);
  }

  Symbol rule_symbol(size_t rule) {
    if (!symbols_[rule]) symbols_[rule] = builder_.terminal(*regular_[rule]);
    return *symbols_[rule];
  }

  GrammarBuilder& builder_;
  const std::vector<Node>& nodes_;
  const std::vector<Rule>& rules_;
  std::vector<std::optional<Regex>> regular_;
  std::vector<bool> is_regular_ = {};  // of a node
  std::vector<std::optional<Symbol>> symbols_;
};

}  // namespace

Symbol gbnf(GrammarBuilder& builder, std::string_view text, const GrammarLimits& limits) {
  GbnfReader reader(builder, text, limits);
  reader.read();
  return GbnfSymbols(builder, reader.nodes(), reader.rules()).make(reader.root());
}

}  // namespace quire
