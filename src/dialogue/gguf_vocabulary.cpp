#include "dialogue/gguf_vocabulary.h"

#include "base/error.h"

namespace quire {
namespace {

std::optional<int32_t> find_id(const GgufFile& gguf, const char* key, size_t vocab_size) {
  if (!gguf.has(key)) return std::nullopt;
  const int64_t id = gguf.get_int(key);
  // Some writers use an id outside the vocabulary for "none".
  if (id < 0 || id >= static_cast<int64_t>(vocab_size)) return std::nullopt;
  return static_cast<int32_t>(id);
}

std::optional<bool> find_flag(const GgufFile& gguf, const char* key) {
  if (!gguf.has(key)) return std::nullopt;
  return gguf.get_bool(key);
}

std::vector<std::string> find_texts(const GgufFile& gguf, const char* key) {
  if (!gguf.has(key)) return {};
  const std::vector<std::string_view> texts = gguf.get_strings(key);
  return {texts.begin(), texts.end()};
}

}  // namespace

GgufVocabulary read_gguf_vocabulary(const GgufFile& gguf) {
  GgufVocabulary out;
  out.architecture = gguf.find_string("general.architecture", "");
  out.name = gguf.find_string("general.name", "");
  out.model = gguf.get_string("tokenizer.ggml.model");
  out.pre = gguf.find_string("tokenizer.ggml.pre", "");
  if (!gguf.has("tokenizer.ggml.tokens")) {
    fail(ErrorCode::kCorrupt, "{}: tokenizer.ggml.tokens is missing, the vocabulary cannot be read", gguf.name());
  }
  out.tokens = find_texts(gguf, "tokenizer.ggml.tokens");
  out.merges = find_texts(gguf, "tokenizer.ggml.merges");
  if (gguf.has("tokenizer.ggml.scores")) out.scores = gguf.get_floats("tokenizer.ggml.scores");
  if (gguf.has("tokenizer.ggml.token_type")) {
    for (const int64_t type : gguf.get_ints("tokenizer.ggml.token_type")) {
      out.types.push_back(static_cast<int32_t>(type));
    }
  }
  const size_t size = out.tokens.size();
  out.bos_id = find_id(gguf, "tokenizer.ggml.bos_token_id", size);
  out.eos_id = find_id(gguf, "tokenizer.ggml.eos_token_id", size);
  out.unk_id = find_id(gguf, "tokenizer.ggml.unknown_token_id", size);
  out.pad_id = find_id(gguf, "tokenizer.ggml.padding_token_id", size);
  out.sep_id = find_id(gguf, "tokenizer.ggml.seperator_token_id", size);  // spelled so in the format
  out.cls_id = find_id(gguf, "tokenizer.ggml.cls_token_id", size);
  out.eot_id = find_id(gguf, "tokenizer.ggml.eot_token_id", size);
  out.eom_id = find_id(gguf, "tokenizer.ggml.eom_token_id", size);
  out.add_bos = find_flag(gguf, "tokenizer.ggml.add_bos_token");
  out.add_eos = find_flag(gguf, "tokenizer.ggml.add_eos_token");
  out.add_sep = find_flag(gguf, "tokenizer.ggml.add_sep_token");
  out.add_space_prefix = find_flag(gguf, "tokenizer.ggml.add_space_prefix");
  out.remove_extra_whitespaces = find_flag(gguf, "tokenizer.ggml.remove_extra_whitespaces");
  if (const GgufValue* charsmap = gguf.find("tokenizer.ggml.precompiled_charsmap")) {
    out.precompiled_charsmap.assign(reinterpret_cast<const char*>(charsmap->bytes.data()), charsmap->bytes.size());
  }
  if (gguf.has("tokenizer.chat_template")) out.chat_template = gguf.get_string("tokenizer.chat_template");
  return out;
}

}  // namespace quire
