// Text <-> token ids, by the model's own rules. A pipeline of parts, one per file of this folder:
//
//   encode: added tokens | normalizer | added tokens | pre-tokenizer | token model | post-processor
//   decode: decoder stages (see detokenizer.h for text that arrives token by token)
//
// A Tokenizer is immutable and cheap to copy; any thread may use it. Ids equal those of the library that the files were
// made for (Hugging Face tokenizers, sentencepiece).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/text_span.h"

namespace quire {

struct TokenizerParts;

class Tokenizer {
 public:
  struct EncodeOptions {
    bool add_special_tokens = true;  // those of the post-processor: begin of sequence, separators ...
    bool parse_special = true;       // false: the names of special tokens are ordinary text
    // Where they are so in any case: bytes of untrusted text within the text. In order, without overlaps.
    std::span<const TextSpan> data = {};
  };

  explicit Tokenizer(std::unique_ptr<const TokenizerParts> parts);

  // Malformed UTF-8 is read as U+FFFD. Time is near linear in the text's length. Throws Error kLimit for text above 1
  // GiB, or when an expression of the tokenizer takes too long on this text.
  std::vector<int32_t> encode(std::string_view text, EncodeOptions options) const;
  std::vector<int32_t> encode(std::string_view text) const { return encode(text, EncodeOptions()); }

  // The text has at least this many tokens, whatever the options; found in a pass over its bytes, to refuse a text
  // that is far too long before it is encoded. 0 where nothing is known: normalisers and pre-tokenizers may drop or
  // shorten text.
  int64_t min_tokens(std::string_view text) const;

  // Valid UTF-8. Ids outside the vocabulary give nothing.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = true) const;

  // The piece as the vocabulary writes it; empty for an id without one.
  std::string_view token_text(int32_t id) const;
  // The bytes that the token adds in the middle of a text, which may be part of a character; the name of a special
  // token.
  std::string token_bytes(int32_t id) const;

  int32_t vocab_size() const;  // largest id + 1, added tokens included
  std::optional<int32_t> find_token(std::string_view piece) const;
  bool is_special(int32_t id) const;

  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  std::optional<int32_t> unk_id() const;
  std::optional<int32_t> pad_id() const;
  // Tokens that end a generation: eos, and those with a known name for the end of a turn. Sorted.
  const std::vector<int32_t>& eog_ids() const;
  bool is_eog(int32_t id) const;

  // The chat template that came with the tokenizer's files, if any.
  const std::optional<std::string>& chat_template() const;

  const TokenizerParts& parts() const { return *parts_; }

 private:
  std::shared_ptr<const TokenizerParts> parts_;
};

// A Hugging Face tokenizer.json and, when there is one, the tokenizer_config.json beside it (else nullptr). The
// configuration adds the names of bos, eos, unk and pad, added tokens that tokenizer.json lacks, add_bos_token and
// add_eos_token, and the chat template. Throws Error kCorrupt / kUnsupported naming the member or component.
Tokenizer load_tokenizer_json(const json::value& tokenizer_json, const json::value* tokenizer_config);

// A directory without tokenizer.json: vocab.json and merges.txt of a byte-level BPE. The configuration's
// tokenizer_class chooses the expressions (Qwen2Tokenizer: Qwen2's with NFC; others: GPT-2's).
Tokenizer load_vocab_merges(const json::value& vocab_json, std::string_view merges_txt,
                            const json::value* tokenizer_config);

// A sentencepiece model file (BPE or Unigram) and, when there is one, the tokenizer_config.json beside it.
Tokenizer load_sentencepiece(std::span<const std::byte> model, const json::value* tokenizer_config);

// The tokenizer.ggml.* metadata of a GGUF file, and what tells the model's family.
struct GgufVocabulary {
  std::string architecture = {}, name = {};  // general.architecture, general.name
  std::string model = {};  // "llama" (sentencepiece BPE), "gpt2" (byte-level BPE), "bert" (WordPiece), "t5" (Unigram)
  std::string pre = {};    // names the expressions of a "gpt2" vocabulary
  std::vector<std::string> tokens = {};
  std::vector<float> scores = {};  // empty or one per token
  // Empty or one per token: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte.
  std::vector<int32_t> types = {};
  std::vector<std::string> merges = {};  // "left right"
  std::optional<int32_t> bos_id = {}, eos_id = {}, unk_id = {}, pad_id = {}, sep_id = {}, cls_id = {}, eot_id = {},
                         eom_id = {};
  std::optional<bool> add_bos = {}, add_eos = {}, add_sep = {}, add_space_prefix = {}, remove_extra_whitespaces = {};
  std::string precompiled_charsmap = {};
  std::optional<std::string> chat_template = {};
};
Tokenizer load_gguf_vocabulary(const GgufVocabulary& vocabulary);

}  // namespace quire
