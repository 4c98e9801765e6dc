// Beam search over the tokens of one answer: keeps the `width` likeliest beginnings, and lengthens all of them by one
// token at a time.
//
// It knows the likeliest next tokens of each beginning (a beam) and nothing of where they come from. What it chooses is
// a function of these alone; of equals the earlier beam and the likelier token come first.
#pragma once

#include <cstdint>
#include <functional>
#include <iterator>
#include <span>
#include <vector>

#include "decoding/token_report.h"

namespace quire {

struct BeamOptions {
  int width = 0;  // 0: no beam search
  // Answers are compared by their log probability divided by their number of tokens to this power; the token that ends
  // an answer counts.
  float length_penalty = 1.0f;
  // The search ends when `width` answers have ended; otherwise when no beam can become better than all of these.
  bool early_stopping = false;

  // Throws Error kInvalidArgument naming the field, its value and the allowed range.
  void validate() const;
};

class BeamSearch {
 public:
  struct Limits {
    int64_t max_tokens = 1;    // of an answer, at least 1
    int num_alternatives = 0;  // reported beside each token
    std::function<bool(int32_t)> is_stop;
  };
  // An answer, complete or cut at max_tokens.
  struct Answer {
    std::vector<SampledToken> tokens;
    double logprob = 0.0;  // of all its tokens
    double score = 0.0;
    bool is_stopped = false;  // its last token is a stop token
  };
  // A beam becomes another one, or several.
  struct Extension {
    int beam = 0;  // its present number
    int32_t token = 0;
  };

  BeamSearch(BeamOptions options, Limits limits);

  // How many of the likeliest tokens a beam must report.
  int num_candidates() const;
  // The tokens that may follow a beam, in descending order. Those with a log probability of -infinity are impossible.
  void report(int beam, std::vector<TokenLogprob> candidates);
  // Whether all beams have reported.
  bool is_ready() const;
  // Lengthens the beams: extension i makes beam i of those that follow. None when the search has ended.
  std::vector<Extension> advance();
  // The best ones when it has ended, at most `count`, in descending order of their scores.
  std::vector<Answer> best(int count) const;

 private:
  struct Node {  // a token of some beams
    int64_t parent = -1;
    SampledToken token;
  };
  struct Beam {
    int64_t last = -1;  // its last node
    double logprob = 0.0;
    bool has_reported = false;
    std::vector<TokenLogprob> candidates = {};
  };
  struct Ended {
    int64_t last = -1;
    double logprob = 0.0;
    double score = 0.0;
    bool is_stopped = false;
  };
  struct Candidate {
    size_t beam = 0;
    size_t rank = 0;
    double logprob = 0.0;
  };

  std::vector<Candidate> collect();
  int64_t add_node(const Candidate& candidate);
  void end(const Ended& answer);
  double score_of(double logprob, int64_t length) const;
  double best_attainable() const;
  bool has_enough() const { return std::ssize(ended_) >= options_.width; }
  bool is_over() const;

  BeamOptions options_;
  Limits limits_;
  int64_t length_ = 0;  // of the beams
  std::vector<Beam> beams_{1};
  std::vector<Node> nodes_;
  std::vector<Ended> ended_;  // at most `width`, the best first
};

}  // namespace quire
