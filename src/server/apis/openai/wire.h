// Pieces of JSON that several answers have. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "decoding/sampler.h"
#include "server/apis/answer_writer.h"
#include "text/tokenizer.h"

namespace quire {

// The names of tokens in log probabilities.
struct TokenNames {
  const Tokenizer& tokenizer;
  bool as_ids = false;  // "token_id:123"

  // The token's text; bytes that are not a whole character are written as bytes:\xe2\x82.
  std::string name(int32_t id) const;
};

template <typename List, typename Append>
void append_list(std::string& out, const List& list, Append append) {
  out += '[';
  bool is_first = true;
  for (const auto& element : list) {
    if (!is_first) out += ',';
    is_first = false;
    append(element);
  }
  out += ']';
}

void append_token_ids(std::string& out, std::span<const int32_t> ids);
// A list of {"token", "logprob", "bytes", "top_logprobs"}. The token that ends the turn is not part of the message and
// is left out, as in OpenAI's answers.
void append_token_logprobs(std::string& out, const TokenNames& names, const std::vector<PieceToken>& tokens);
// vLLM's form: null, or an object of token id: {logprob, rank, decoded_token}, for each token of the prompt.
void append_prompt_logprobs(std::string& out, const TokenNames& names, std::span<const SampledToken> tokens,
                            int num_top);
void append_usage(std::string& out, const UsageCounts& usage);

}  // namespace quire
