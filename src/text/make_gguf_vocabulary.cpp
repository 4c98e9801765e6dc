#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "text/named_pre_tokenizers.h"
#include "text/tokenizer_files.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

namespace quire {
namespace {

constexpr std::string_view kGpt2Name = "gpt-2";

std::string type_of(const json::object& component) { return find_string(component, "type", ""); }

// The steps of a component: of a sequence those within, else itself.
std::vector<const json::object*> steps_of(const json::object* component, const char* list) {
  std::vector<const json::object*> steps;
  if (component == nullptr) return steps;
  if (type_of(*component) != "Sequence") return {component};
  if (const json::array* members = find_array(*component, list)) {
    for (const json::value& member : *members) {
      if (!member.is_object()) continue;
      for (const json::object* step : steps_of(&member.get_object(), list)) steps.push_back(step);
    }
  }
  return steps;
}

bool has_type(const std::vector<const json::object*>& steps, std::string_view type) {
  return std::ranges::any_of(steps, [&](const json::object* step) { return type_of(*step) == type; });
}

struct Merge {
  std::string left;
  std::string right;
};

// read_merges of load_tokenizer_json.cpp has checked them.
std::vector<Merge> merges_of(const json::object& model) {
  std::vector<Merge> merges;
  for (const json::value& merge : *find_array(model, "merges")) {
    if (const json::array* pair = merge.if_array()) {
      merges.push_back({std::string(pair->at(0).get_string()), std::string(pair->at(1).get_string())});
      continue;
    }
    const std::string_view line = merge.get_string();
    const size_t space = line.find(' ');
    merges.push_back({std::string(line.substr(0, space)), std::string(line.substr(space + 1))});
  }
  return merges;
}

// The expressions by which a byte-level pre-tokenizer splits.
std::vector<std::string> expressions_of(const std::vector<const json::object*>& steps) {
  std::vector<std::string> expressions;
  for (const json::object* step : steps) {
    const std::string type = type_of(*step);
    if (type == "Split") {
      const json::object* pattern = find_object(*step, "pattern");
      expressions.push_back(pattern == nullptr ? "" : find_string(*pattern, "Regex", "a text"));
      if (find_string(*step, "behavior", "") != "Isolated") expressions.back() += " (not isolated)";
    } else if (type == "Digits") {
      expressions.push_back(find_bool(*step, "individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)");
    } else if (type == "ByteLevel") {
      if (find_bool(*step, "use_regex", true)) {
        expressions.emplace_back(find_named_pre_tokenizer(kGpt2Name).expressions.front());
      }
      if (find_bool(*step, "add_prefix_space", false)) expressions.emplace_back("a blank before the text");
    } else {
      expressions.push_back("a step of the type " + type);
    }
  }
  return expressions;
}

void fill_gpt2(const json::object& tokenizer, const json::object& model, GgufVocabulary& out) {
  const auto normalizer = steps_of(find_object(tokenizer, "normalizer"), "normalizers");
  const bool is_nfc = normalizer.size() == 1 && type_of(*normalizer[0]) == "NFC";
  if (!normalizer.empty() && !is_nfc) {
    fail(ErrorCode::kUnsupported, "the normaliser \"{}\" before a byte-level vocabulary has no name in GGUF",
         printable(type_of(*normalizer[0])));
  }
  const auto expressions = expressions_of(steps_of(find_object(tokenizer, "pre_tokenizer"), "pretokenizers"));
  const unsigned flags = (is_nfc ? NamedPreTokenizer::kNfc : 0u) |
                         (find_bool(model, "ignore_merges", false) ? NamedPreTokenizer::kIgnoreMerges : 0u);
  const std::string_view name = name_of_pre_tokenizer(expressions, flags);
  if (name.empty()) {
    std::string found;
    for (const std::string& expression : expressions) found += (found.empty() ? "" : ", then ") + expression;
    fail(ErrorCode::kUnsupported, "the pre-tokenizer splits by {}{}, which has no name in GGUF", printable(found, 400),
         is_nfc ? " after NFC" : "");
  }
  out.model = "gpt2";
  out.pre = name;
  for (const Merge& merge : merges_of(model)) out.merges.push_back(merge.left + " " + merge.right);
}

bool prepends_blank(const json::object& tokenizer) {
  for (const json::object* step : steps_of(find_object(tokenizer, "normalizer"), "normalizers")) {
    if (type_of(*step) == "Prepend") return true;
  }
  for (const json::object* step : steps_of(find_object(tokenizer, "pre_tokenizer"), "pretokenizers")) {
    if (type_of(*step) == "Metaspace") return find_string(*step, "prepend_scheme", "always") != "never";
  }
  return false;
}

// Tokens that GGUF's rule, the neighbours whose union has the best score, joins in other ways than the merges do.
size_t count_other_joins(const std::vector<Merge>& merges, const std::vector<std::string>& tokens,
                         const std::vector<int32_t>& types) {
  std::unordered_set<std::string> pairs;
  for (const Merge& merge : merges) pairs.insert(merge.left + '\0' + merge.right);
  std::unordered_set<std::string> joined;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (types[i] == 1) joined.insert(tokens[i]);
  }
  size_t count = 0;
  for (const std::string& token : joined) {
    for (size_t at = 0; at < token.size();) {
      at += decode_utf8(token, at).size;
      if (at >= token.size() || !joined.contains(token.substr(0, at)) || !joined.contains(token.substr(at))) continue;
      if (pairs.contains(token.substr(0, at) + '\0' + token.substr(at))) continue;
      ++count;
      break;
    }
  }
  return count;
}

void fill_llama(const json::object& tokenizer, const json::object& model, GgufVocabulary& out,
                std::vector<std::string>& lost) {
  out.model = "llama";
  out.pre = "default";
  out.add_space_prefix = prepends_blank(tokenizer);
  const std::vector<Merge> merges = merges_of(model);
  std::unordered_map<std::string, float> scores;  // the earlier merge is the better token
  for (size_t i = 0; i < merges.size(); ++i) {
    scores.try_emplace(merges[i].left + merges[i].right, -static_cast<float>(i));
  }
  const auto worst = -static_cast<float>(merges.size());
  for (size_t i = 0; i < out.tokens.size(); ++i) {
    const auto found = scores.find(out.tokens[i]);
    out.scores.push_back(found == scores.end() ? worst : found->second);
    if (out.types[i] == 1 && parse_byte_piece(out.tokens[i])) out.types[i] = 6;
  }
  if (const size_t others = count_other_joins(merges, out.tokens, out.types); others > 0) {
    lost.push_back(fmt::format(
        "the merges of tokenizer.json: GGUF joins neighbours by the scores of tokens, which makes {} tokens in further "
        "ways, so that some texts may be cut into other tokens",
        others));
  }
}

void fill_tokens(const Tokenizer& tokenizer, int64_t vocab_size, GgufVocabulary& out) {
  const TokenizerParts& parts = tokenizer.parts();
  const auto size = std::max<int64_t>(vocab_size, tokenizer.vocab_size());
  for (int32_t id = 0; id < size; ++id) {
    const bool is_known = parts.all_tokens.contains(id);
    out.tokens.push_back(is_known ? std::string(parts.all_tokens.text(id)) : fmt::format("[PAD{}]", id));
    out.types.push_back(is_known ? 1 : 5);
  }
  for (const AddedToken& token : parts.added.tokens()) {
    out.types[static_cast<size_t>(token.id)] = token.special ? 3 : 4;
  }
  if (const auto unknown = tokenizer.unk_id()) out.types[static_cast<size_t>(*unknown)] = 2;
}

void fill_ids(const Tokenizer& tokenizer, GgufVocabulary& out, std::vector<std::string>& lost) {
  out.bos_id = tokenizer.bos_id();
  out.eos_id = tokenizer.eos_id();
  out.unk_id = tokenizer.unk_id();
  out.pad_id = tokenizer.pad_id();
  for (const int32_t id : tokenizer.eog_ids()) {
    if (id != out.eos_id && !out.eot_id) out.eot_id = id;
  }
  out.chat_template = tokenizer.chat_template();
  const PostProcessor& around = tokenizer.parts().post_processor;
  out.add_bos = out.bos_id && around.before == std::vector<int32_t>{*out.bos_id};
  out.add_eos = out.eos_id && around.after == std::vector<int32_t>{*out.eos_id};
  if ((!around.before.empty() && !*out.add_bos) || (!around.after.empty() && !*out.add_eos)) {
    lost.emplace_back("the post-processor's tokens around a text: GGUF knows bos before and eos behind it");
  }
}

}  // namespace

GgufVocabulary gguf_vocabulary_of(const json::value& tokenizer_json, const json::value* tokenizer_config,
                                  int64_t vocab_size, std::vector<std::string>& lost) {
  const Tokenizer tokenizer = load_tokenizer_json(tokenizer_json, tokenizer_config);
  const json::object& file = tokenizer_json.get_object();
  const json::object& model = *find_object(file, "model");
  const auto pre_tokenizer = steps_of(find_object(file, "pre_tokenizer"), "pretokenizers");
  const bool is_bpe = find_array(model, "merges") != nullptr;
  GgufVocabulary out;
  fill_tokens(tokenizer, vocab_size, out);
  if (is_bpe && has_type(pre_tokenizer, "ByteLevel")) {
    fill_gpt2(file, model, out);
  } else if (is_bpe && find_bool(model, "byte_fallback", false)) {
    fill_llama(file, model, out, lost);
  } else {
    fail(ErrorCode::kUnsupported,
         "the tokenizer is a {} that is neither byte-level nor falls back to bytes, which is not converted to GGUF",
         printable(find_string(model, "type", "model without a type")));
  }
  fill_ids(tokenizer, out, lost);
  for (const AddedToken& token : tokenizer.parts().added.tokens()) {
    const bool is_plain = !token.lstrip && !token.rstrip && !token.single_word;
    if (is_plain && (!token.normalized || tokenizer.parts().normalizer == nullptr)) continue;
    lost.push_back(
        fmt::format("that \"{}\" and others like it are found in normalised text, as whole words or with the white "
                    "space beside them",
                    printable(token.content)));
    break;
  }
  return out;
}

}  // namespace quire
