// How an answer is written as JSON: one format for chat, one for completions, used by streams and whole replies alike.
//
// Made once per request, used on the exchange's executor.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dialogue/choice_text.h"
#include "server/context.h"
#include "server/schema/api_request.h"

namespace quire {

// The names of tokens in log probabilities.
struct TokenNames {
  const Tokenizer& tokenizer;
  bool as_ids = false;  // "token_id:123"

  // The token's text; bytes that are not a whole character are written as bytes:\xe2\x82.
  std::string name(int32_t id) const;
};

struct ChoiceEnd {
  std::string_view finish_reason;    // "stop", "length"
  std::string stop_reason = "null";  // as JSON: the stop string, the stop token's id
};

// An element of "choices".
struct ChoicePart {
  int index = 0;
  bool is_stream = false;
  bool is_first = false;  // of this choice
  const TextPiece& piece;
  const ChoiceEnd* end = nullptr;  // null: more follows
  std::string_view prompt = {};    // members about the prompt, each with a comma before it
};

class ReplyFormat {
 public:
  ReplyFormat(TokenNames names, const ApiRequest& request)
      : names_(names), logprobs_(request.logprobs), token_ids_(request.return_token_ids) {}
  virtual ~ReplyFormat() = default;

  virtual std::string_view id_prefix() const = 0;
  virtual std::string_view object(bool is_stream) const = 0;
  // Members about the prompt are in each choice, or beside "choices".
  virtual bool has_prompt_in_choice() const = 0;
  virtual void append_choice(std::string& out, const ChoicePart& part) const = 0;

  const TokenNames& names() const { return names_; }

 protected:
  void append_end(std::string& out, const ChoicePart& part) const;

  TokenNames names_;
  bool logprobs_;
  bool token_ids_;
};

std::unique_ptr<ReplyFormat> make_chat_format(TokenNames names, const ApiRequest& request);
std::unique_ptr<ReplyFormat> make_completion_format(TokenNames names, const ApiRequest& request);

void append_token_ids(std::string& out, std::span<const int32_t> ids);
// vLLM's form: null, or an object of token id: {logprob, rank, decoded_token}, for each token of the prompt.
void append_prompt_logprobs(std::string& out, const TokenNames& names, std::span<const SampledToken> tokens,
                            int num_top);

struct UsageCounts {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;
};
void append_usage(std::string& out, const UsageCounts& usage);

// Changes whenever the answers to equal requests may change.
std::string system_fingerprint(const ModelCard& model);

}  // namespace quire
