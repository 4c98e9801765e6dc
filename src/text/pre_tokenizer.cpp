#include "text/pre_tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/characters.h"
#include "text/normalizer.h"
#include "text/regex.h"
#include "text/utf8.h"

namespace quire {
namespace {

using Piece = PreTokenizedText::Piece;

constexpr int kMaxDepth = 16;
constexpr std::string_view kGpt2Expression =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

struct Span {
  size_t begin, end;
  bool is_match;
};

// Finds matches in `text` and calls match(begin, end) in order.
using Finder = std::function<void(std::string_view text, const std::function<void(size_t, size_t)>& match)>;

// Matches and the gaps between them, covering the text.
std::vector<Span> find_spans(std::string_view text, const Finder& find, bool invert) {
  std::vector<Span> spans;
  size_t covered = 0;
  find(text, [&](size_t begin, size_t end) {
    if (covered < begin) spans.push_back({covered, begin, invert});
    spans.push_back({begin, end, !invert});
    covered = end;
  });
  if (covered < text.size()) spans.push_back({covered, text.size(), invert});
  return spans;
}

std::vector<Span> merge_with_previous(const std::vector<Span>& spans) {
  std::vector<Span> merged;
  bool after_match = false;
  for (const Span& span : spans) {
    if (span.is_match && !after_match && !merged.empty()) {
      merged.back().end = span.end;
    } else {
      merged.push_back(span);
    }
    after_match = span.is_match;
  }
  return merged;
}

std::vector<Span> merge_with_next(const std::vector<Span>& spans) {
  std::vector<Span> merged;
  bool before_match = false;
  for (auto span = spans.rbegin(); span != spans.rend(); ++span) {
    if (span->is_match && !before_match && !merged.empty()) {
      merged.back().begin = span->begin;
    } else {
      merged.push_back(*span);
    }
    before_match = span->is_match;
  }
  std::reverse(merged.begin(), merged.end());
  return merged;
}

std::vector<Span> merge_neighbours(const std::vector<Span>& spans) {
  std::vector<Span> merged;
  for (const Span& span : spans) {
    if (!merged.empty() && merged.back().is_match == span.is_match) {
      merged.back().end = span.end;
    } else {
      merged.push_back(span);
    }
  }
  return merged;
}

void split_pieces(PreTokenizedText& input, const Finder& find, SplitBehavior behavior, bool invert = false) {
  std::vector<Piece> pieces;
  for (const Piece& piece : input.pieces) {
    const std::string_view text = std::string_view(input.text).substr(piece.begin, piece.end - piece.begin);
    std::vector<Span> spans = find_spans(text, find, invert);
    if (behavior == SplitBehavior::kMergedWithPrevious) spans = merge_with_previous(spans);
    if (behavior == SplitBehavior::kMergedWithNext) spans = merge_with_next(spans);
    if (behavior == SplitBehavior::kContiguous) spans = merge_neighbours(spans);
    for (const Span& span : spans) {
      if (span.begin == span.end || (span.is_match && behavior == SplitBehavior::kRemoved)) continue;
      pieces.push_back({piece.begin + span.begin, piece.begin + span.end, piece.at_start && span.begin == 0});
    }
  }
  input.pieces = std::move(pieces);
}

// Every character of a class is a separate match.
Finder characters_where(bool (*belongs)(char32_t)) {
  return [belongs](std::string_view text, const std::function<void(size_t, size_t)>& match) {
    for_each_character(text, [&](char32_t code, size_t begin, size_t size) {
      if (belongs(code)) match(begin, begin + size);
    });
  };
}

Finder occurrences_of(std::string needle) {
  return [needle = std::move(needle)](std::string_view text, const std::function<void(size_t, size_t)>& match) {
    if (needle.empty()) return;
    for (size_t at = text.find(needle); at != std::string_view::npos; at = text.find(needle, at + needle.size())) {
      match(at, at + needle.size());
    }
  };
}

Finder matches_of(std::string_view expression) {
  return [regex = TextRegex(expression)](std::string_view text, const std::function<void(size_t, size_t)>& match) {
    regex.for_each_match(text, match);
  };
}

PreTokenizer splitter(Finder find, SplitBehavior behavior, bool invert = false) {
  return [find = std::move(find), behavior, invert](PreTokenizedText& input) {
    split_pieces(input, find, behavior, invert);
  };
}

// Replaces each piece's text; rewrite(out, piece, bytes) appends to `out`.
template <typename Rewrite>
void rewrite_pieces(PreTokenizedText& input, Rewrite rewrite) {
  std::string out;
  out.reserve(input.text.size() + input.text.size() / 2);
  for (Piece& piece : input.pieces) {
    const size_t begin = out.size();
    rewrite(out, piece, std::string_view(input.text).substr(piece.begin, piece.end - piece.begin));
    piece.begin = begin;
    piece.end = out.size();
  }
  input.text = std::move(out);
}

bool is_punctuation(char32_t code) {
  if (code < 0x80) {
    return (code >= '!' && code <= '/') || (code >= ':' && code <= '@') || (code >= '[' && code <= '`') ||
           (code >= '{' && code <= '~');
  }
  return is_punctuation_unicode8(code);
}

// Words and runs of other characters that are not space: \w+|[^\w\s]+
void whitespace(PreTokenizedText& input) {
  const auto runs = [](std::string_view text, const std::function<void(size_t, size_t)>& match) {
    enum Kind { kSpace, kWord, kOther } kind = kSpace;
    size_t start = 0;
    for_each_character(text, [&](char32_t code, size_t begin, size_t) {
      const Kind next = is_word(code) ? kWord : is_whitespace(code) ? kSpace : kOther;
      if (next == kind) return;
      if (kind != kSpace) match(start, begin);
      kind = next;
      start = begin;
    });
    if (kind != kSpace) match(start, text.size());
  };
  split_pieces(input, runs, SplitBehavior::kRemoved, true);
}

enum class PrependScheme { kFirst, kNever, kAlways };

PreTokenizer make_metaspace(std::string replacement, PrependScheme scheme, bool split) {
  const PreTokenizer split_before = splitter(occurrences_of(replacement), SplitBehavior::kMergedWithNext);
  return [=](PreTokenizedText& input) {
    rewrite_pieces(input, [&](std::string& out, const Piece& piece, std::string_view text) {
      const bool wanted = scheme == PrependScheme::kAlways || (scheme == PrependScheme::kFirst && piece.at_start);
      if (wanted && !text.starts_with(' ') && !text.starts_with(replacement)) out += replacement;
      out += replace_all(text, " ", replacement);
    });
    if (split) split_before(input);
  };
}

PreTokenizer parse_metaspace(const json::object& description) {
  const std::string name = find_string(description, "prepend_scheme", "always");
  PrependScheme scheme = PrependScheme::kAlways;
  if (name == "first") {
    scheme = PrependScheme::kFirst;
  } else if (name == "never") {
    scheme = PrependScheme::kNever;
  } else if (name != "always") {
    fail(ErrorCode::kUnsupported, "prepend_scheme \"{}\"; known are first, never, always", printable(name));
  }
  if (!find_bool(description, "add_prefix_space", true)) scheme = PrependScheme::kNever;
  const std::string replacement = find_string(description, "replacement", kMetaspace);
  return make_metaspace(replacement, scheme, find_bool(description, "split", true));
}

SplitBehavior parse_behavior(const json::object& description, std::string_view fallback) {
  const std::string name = find_string(description, "behavior", fallback);
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  fail(ErrorCode::kUnsupported, "split behaviour \"{}\" is unknown", printable(name));
}

PreTokenizer parse_split(const json::object& description) {
  const json::object* pattern = find_object(description, "pattern");
  if (pattern == nullptr) fail(ErrorCode::kCorrupt, "a Split pre-tokenizer without \"pattern\"");
  const Finder find = pattern->contains("String") ? occurrences_of(get_string(*pattern, "String"))
                                                  : matches_of(get_string(*pattern, "Regex"));
  return splitter(find, parse_behavior(description, "Removed"), find_bool(description, "invert", false));
}

PreTokenizer make_fixed_length(int64_t length) {
  if (length <= 0) fail(ErrorCode::kCorrupt, "a FixedLength pre-tokenizer of length {}", length);
  const auto chunks = [length](std::string_view text, const std::function<void(size_t, size_t)>& match) {
    size_t start = 0;
    int64_t count = 0;
    for_each_character(text, [&](char32_t, size_t begin, size_t size) {
      if (++count < length) return;
      match(start, begin + size);
      start = begin + size;
      count = 0;
    });
  };
  return splitter(chunks, SplitBehavior::kIsolated);
}

PreTokenizer parse_sequence(const json::object& description, int depth) {
  if (depth >= kMaxDepth) fail(ErrorCode::kCorrupt, "pre-tokenizers nested more than {} deep", kMaxDepth);
  std::vector<PreTokenizer> steps;
  if (const json::array* list = find_array(description, "pretokenizers")) {
    for (const json::value& step : *list) {
      if (!step.is_object()) fail(ErrorCode::kCorrupt, "\"pretokenizers\" should hold objects");
      steps.push_back(parse_pre_tokenizer(step.get_object(), depth + 1));
    }
  }
  return make_sequence_pre_tokenizer(std::move(steps));
}

}  // namespace

PreTokenizer make_split_pre_tokenizer(std::string_view expression, SplitBehavior behavior, bool invert) {
  return splitter(matches_of(expression), behavior, invert);
}

PreTokenizer make_byte_level_pre_tokenizer(bool add_prefix_space, bool use_expression) {
  PreTokenizer split;
  if (use_expression) split = make_split_pre_tokenizer(kGpt2Expression, SplitBehavior::kIsolated);
  return [add_prefix_space, split](PreTokenizedText& input) {
    if (add_prefix_space) {
      rewrite_pieces(input, [](std::string& out, const Piece&, std::string_view text) {
        if (!text.starts_with(' ')) out.push_back(' ');
        out += text;
      });
    }
    if (split) split(input);
    rewrite_pieces(input, [](std::string& out, const Piece&, std::string_view text) { append_byte_level(out, text); });
  };
}

PreTokenizer make_bert_pre_tokenizer() {
  return make_sequence_pre_tokenizer({splitter(characters_where(is_whitespace), SplitBehavior::kRemoved),
                                      splitter(characters_where(is_punctuation), SplitBehavior::kIsolated)});
}

PreTokenizer make_digits_pre_tokenizer(bool individual) {
  return splitter(characters_where(is_numeric), individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
}

PreTokenizer make_punctuation_pre_tokenizer(SplitBehavior behavior) {
  return splitter(characters_where(is_punctuation), behavior);
}

PreTokenizer make_sequence_pre_tokenizer(std::vector<PreTokenizer> steps) {
  return [steps = std::move(steps)](PreTokenizedText& input) {
    for (const PreTokenizer& step : steps) step(input);
  };
}

PreTokenizer parse_pre_tokenizer(const json::object& description, int depth) {
  const std::string type = get_string(description, "type");
  if (type == "Sequence") return parse_sequence(description, depth);
  if (type == "ByteLevel") {
    return make_byte_level_pre_tokenizer(find_bool(description, "add_prefix_space", true),
                                         find_bool(description, "use_regex", true));
  }
  if (type == "Metaspace") return parse_metaspace(description);
  if (type == "Split") return parse_split(description);
  if (type == "Whitespace") return whitespace;
  if (type == "WhitespaceSplit") return splitter(characters_where(is_whitespace), SplitBehavior::kRemoved);
  if (type == "BertPreTokenizer") return make_bert_pre_tokenizer();
  if (type == "Digits") return make_digits_pre_tokenizer(find_bool(description, "individual_digits", false));
  if (type == "Punctuation") return make_punctuation_pre_tokenizer(parse_behavior(description, "Isolated"));
  if (type == "CharDelimiterSplit") {
    return splitter(occurrences_of(get_string(description, "delimiter")), SplitBehavior::kRemoved);
  }
  if (type == "FixedLength") return make_fixed_length(get_int(description, "length"));
  fail(ErrorCode::kUnsupported,
       "pre-tokenizer \"{}\" is unknown; known are Sequence, ByteLevel, Metaspace, Split, Whitespace, WhitespaceSplit, "
       "BertPreTokenizer, Digits, Punctuation, CharDelimiterSplit, FixedLength",
       printable(type));
}

}  // namespace quire
