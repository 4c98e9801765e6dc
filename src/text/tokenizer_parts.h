// What a Tokenizer is made of, for the loaders that fill it in and the files that run it. Filled once, then immutable.
#pragma once

#include <bitset>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/token_model.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace quire {

struct TokenizerParts {
  TokenizerParts() = default;
  TokenizerParts(const TokenizerParts&) = delete;  // the model refers to the vocabulary
  TokenizerParts& operator=(const TokenizerParts&) = delete;

  Vocabulary vocabulary;  // the model's pieces
  Vocabulary all_tokens;  // with the added tokens
  AddedTokens added;
  Normalizer normalizer;       // may be empty
  PreTokenizer pre_tokenizer;  // may be empty
  std::unique_ptr<TokenModel> model;
  PostProcessor post_processor;
  TextDecoder decoder;

  // For min_tokens(): each of these bytes of a normalised text becomes part of a token; none where that is unknown.
  std::bitset<256> kept_bytes;
  int normalizer_shrinks = 1;  // a text of n bytes has at least n divided by this when it is normalised
  std::vector<bool> special;   // per id
  std::unordered_map<int32_t, std::string> surfaces;  // ids that decode to something other than their piece
  std::optional<int32_t> bos_id, eos_id, unk_id, pad_id;
  std::vector<int32_t> eog_ids;
  std::optional<std::string> chat_template;

  // Sets `added`, `all_tokens` and `special`; the vocabulary and the normaliser must be there.
  void set_added_tokens(std::vector<AddedToken> tokens);
  // Sets kept_bytes for a byte-level vocabulary, whose normaliser is at most Unicode's form C.
  void keep_bytes(bool is_normalized);
  // Fills eog_ids from eos_id, `more` and the added tokens with known names.
  void find_eog_ids(const std::vector<int32_t>& more = {});

  // The decoder's input for an id; empty when the id gives no text.
  std::string_view surface(int32_t id) const;
  bool is_special(int32_t id) const { return id >= 0 && id < static_cast<int32_t>(special.size()) && special[id]; }
};

// Sets lstrip and rstrip where a GGUF file's model family is known to have them.
void set_family_attributes(const GgufVocabulary& gguf, std::vector<AddedToken>& tokens);

// Whether published models end a turn with a token of this name.
bool ends_a_turn(std::string_view name);

// What tokenizer_config.json says. `config` may be nullptr.
struct TokenizerConfig {
  explicit TokenizerConfig(const json::value* config);

  std::optional<std::string> bos, eos, unk, pad;
  std::optional<bool> add_bos, add_eos, add_prefix_space;
  std::string tokenizer_class;
  std::vector<AddedToken> added_tokens;
  std::optional<std::string> chat_template;

  // Looks the special tokens up in parts.all_tokens and copies the chat template.
  void apply(TokenizerParts& parts) const;
};

// One entry of "added_tokens" or of "added_tokens_decoder".
AddedToken parse_added_token(const json::object& description, int32_t id);

}  // namespace quire
