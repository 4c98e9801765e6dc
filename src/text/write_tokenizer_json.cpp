#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "text/named_pre_tokenizers.h"
#include "text/tokenizer_files.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

namespace quire {
namespace {

constexpr std::string_view kMark = "\xE2\x96\x81";  // U+2581, sentencepiece's blank

json::object vocabulary_json(const GgufVocabulary& gguf) {
  json::object vocab;
  for (size_t i = 0; i < gguf.tokens.size(); ++i) vocab.emplace(gguf.tokens[i], static_cast<int64_t>(i));
  return vocab;
}

// Where both halves and the whole are tokens; tokenizer.json may name no others.
json::array known_merges(const GgufVocabulary& gguf, const json::object& vocab) {
  json::array merges;
  for (const std::string& merge : gguf.merges) {
    const size_t space = merge.find(' ', 1);
    if (space == std::string::npos) continue;
    const std::string left = merge.substr(0, space);
    const std::string right = merge.substr(space + 1);
    if (vocab.contains(left) && vocab.contains(right) && vocab.contains(left + right)) {
      merges.push_back(json::array{left, right});
    }
  }
  return merges;
}

bool is_merged_type(const GgufVocabulary& gguf, size_t id) {
  const int32_t type = gguf.types.empty() ? 1 : gguf.types[id];
  return type == 1 || type == 4 || type == 5;
}

// Sentencepiece joins the two neighbours whose union has the best score: every way to cut a token in two is a merge,
// the better token first.
json::array merges_of_scores(const GgufVocabulary& gguf, const json::object& vocab) {
  std::vector<size_t> order(gguf.tokens.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto score = [&](size_t id) { return gguf.scores.empty() ? 0.0f : gguf.scores[id]; };
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return score(a) > score(b); });
  const auto joins = [&](std::string_view piece) {
    const json::value* id = vocab.if_contains(piece);
    return id != nullptr && is_merged_type(gguf, static_cast<size_t>(id->get_int64()));
  };
  json::array merges;
  for (const size_t id : order) {
    const std::string_view piece = gguf.tokens[id];
    if (!is_merged_type(gguf, id)) continue;
    for (size_t at = 0; at < piece.size();) {
      at += decode_utf8(piece, at).size;
      if (at < piece.size() && joins(piece.substr(0, at)) && joins(piece.substr(at))) {
        merges.push_back(json::array{piece.substr(0, at), piece.substr(at)});
      }
    }
  }
  return merges;
}

json::object replace(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

json::object byte_level() {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
}

void add_gpt2(const GgufVocabulary& gguf, json::object& out) {
  const NamedPreTokenizer& pre = find_named_pre_tokenizer(gguf.pre.empty() ? "default" : gguf.pre);
  json::object vocab = vocabulary_json(gguf);
  json::array merges = known_merges(gguf, vocab);
  out["model"] = {{"type", "BPE"},
                  {"unk_token", nullptr},
                  {"fuse_unk", false},
                  {"byte_fallback", false},
                  {"ignore_merges", pre.has(NamedPreTokenizer::kIgnoreMerges)},
                  {"vocab", std::move(vocab)},
                  {"merges", std::move(merges)}};
  if (pre.has(NamedPreTokenizer::kNfc)) out["normalizer"] = {{"type", "NFC"}};
  json::array steps;
  for (const std::string_view expression : pre.expressions) {
    steps.push_back(json::object{
        {"type", "Split"}, {"pattern", {{"Regex", expression}}}, {"behavior", "Isolated"}, {"invert", false}});
  }
  steps.push_back(byte_level());
  out["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
  out["decoder"] = byte_level();
}

void add_llama(const GgufVocabulary& gguf, const Tokenizer& tokenizer, json::object& out) {
  const bool prefix = gguf.add_space_prefix.value_or(true);
  json::object vocab = vocabulary_json(gguf);
  json::array merges = merges_of_scores(gguf, vocab);
  const bool has_bytes = vocab.contains(byte_piece(0)) && vocab.contains(byte_piece(255));
  out["model"] = {
      {"type", "BPE"},          {"unk_token", nullptr},      {"fuse_unk", true},           {"byte_fallback", has_bytes},
      {"ignore_merges", false}, {"vocab", std::move(vocab)}, {"merges", std::move(merges)}};
  if (const auto unknown = tokenizer.unk_id()) out["model"].get_object()["unk_token"] = tokenizer.token_text(*unknown);
  json::array steps;
  if (prefix) steps.push_back(json::object{{"type", "Prepend"}, {"prepend", kMark}});
  steps.push_back(replace(" ", kMark));
  out["normalizer"] = {{"type", "Sequence"}, {"normalizers", std::move(steps)}};
  json::array decoders = {replace(kMark, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
  if (prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  out["decoder"] = {{"type", "Sequence"}, {"decoders", std::move(decoders)}};
}

json::object added_token(const AddedToken& token) {
  return {{"content", token.content}, {"single_word", token.single_word}, {"lstrip", token.lstrip},
          {"rstrip", token.rstrip},   {"normalized", token.normalized},   {"special", token.special}};
}

json::value post_processor(const Tokenizer& tokenizer) {
  const PostProcessor& around = tokenizer.parts().post_processor;
  if (around.before.empty() && around.after.empty()) return nullptr;
  json::object tokens;
  const auto special = [&](int32_t id, int sequence) {
    const std::string name(tokenizer.token_text(id));
    tokens[name] = {{"id", name}, {"ids", json::array{id}}, {"tokens", json::array{name}}};
    return json::object{{"SpecialToken", {{"id", name}, {"type_id", sequence}}}};
  };
  const auto add = [&](json::array& steps, const char* text, int sequence) {
    for (const int32_t id : around.before) steps.push_back(special(id, sequence));
    steps.push_back(json::object{{"Sequence", {{"id", text}, {"type_id", sequence}}}});
    for (const int32_t id : around.after) steps.push_back(special(id, sequence));
  };
  json::array single;
  add(single, "A", 0);
  json::array pair;
  add(pair, "A", 0);
  add(pair, "B", 1);
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", std::move(pair)},
          {"special_tokens", std::move(tokens)}};
}

}  // namespace

json::object tokenizer_json_of(const GgufVocabulary& gguf) {
  const Tokenizer tokenizer = load_gguf_vocabulary(gguf);
  json::object out{{"version", "1.0"},
                   {"truncation", nullptr},
                   {"padding", nullptr},
                   {"added_tokens", {}},
                   {"normalizer", nullptr},
                   {"pre_tokenizer", nullptr},
                   {"post_processor", post_processor(tokenizer)},
                   {"decoder", nullptr},
                   {"model", nullptr}};
  json::array added;
  for (const AddedToken& token : tokenizer.parts().added.tokens()) {
    json::object entry = added_token(token);
    entry["id"] = token.id;
    added.push_back(std::move(entry));
  }
  out["added_tokens"] = std::move(added);
  if (gguf.model == "gpt2") {
    add_gpt2(gguf, out);
  } else if (gguf.model == "llama") {
    add_llama(gguf, tokenizer, out);
  } else {
    fail(ErrorCode::kUnsupported,
         "the tokenizer is of the kind \"{}\", which is not converted to tokenizer.json; gpt2 and llama are",
         printable(gguf.model));
  }
  return out;
}

json::object tokenizer_config_of(const GgufVocabulary& gguf) {
  const Tokenizer tokenizer = load_gguf_vocabulary(gguf);
  json::object out{{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  const auto name = [&](const char* key, std::optional<int32_t> id) {
    if (id) out[key] = tokenizer.token_text(*id);
  };
  name("bos_token", tokenizer.bos_id());
  name("eos_token", tokenizer.eos_id());
  name("unk_token", tokenizer.unk_id());
  name("pad_token", tokenizer.pad_id());
  json::object decoder;
  for (const AddedToken& token : tokenizer.parts().added.tokens()) {
    decoder[std::to_string(token.id)] = added_token(token);
  }
  out["added_tokens_decoder"] = std::move(decoder);
  if (tokenizer.chat_template()) out["chat_template"] = *tokenizer.chat_template();
  return out;
}

}  // namespace quire
