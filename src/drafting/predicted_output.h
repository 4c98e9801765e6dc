// Drafts from what a client expects the answer to be (OpenAI's predicted output): an answer that repeats a given text
// with changes, as an edited file does.
//
// One object for each sequence; engine thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace quire {

class PredictedOutput {
 public:
  explicit PredictedOutput(std::vector<int32_t> tokens) : tokens_(std::move(tokens)) {}

  // What follows at the place that the answer has reached, at most `count` tokens; empty when it is at no known place.
  // `answer`: its tokens so far; each call gets those of the call before and what came since.
  std::span<const int32_t> next(std::span<const int32_t> answer, int64_t count);

 private:
  size_t find(std::span<const int32_t> answer) const;

  std::vector<int32_t> tokens_;
  size_t num_followed_ = 0;  // tokens of the answer
  bool is_lost_ = false;     // the answer has left the prediction
  size_t place_ = 0;         // the token expected next; when lost, the last place that was known
};

}  // namespace quire
