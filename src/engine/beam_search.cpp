#include "engine/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/error.h"

namespace quire {

void BeamOptions::validate() const {
  constexpr int kMostBeams = 1024;
  if (width < 0 || width > kMostBeams) {
    fail(ErrorCode::kInvalidArgument, "beam_width is {}, it must be between 1 and {}", width, kMostBeams);
  }
  if (!(length_penalty >= -10.0f && length_penalty <= 10.0f)) {
    fail(ErrorCode::kInvalidArgument, "length_penalty is {}, it must be between -10 and 10", length_penalty);
  }
}

BeamSearch::BeamSearch(BeamOptions options, Limits limits) : options_(options), limits_(std::move(limits)) {
  CHECK(options_.width > 0 && limits_.max_tokens > 0);
}

// Of twice as many tokens as there are beams, `width` are no stop tokens as long as the model has one of these for each
// beam at most.
int BeamSearch::num_candidates() const { return std::max(2 * options_.width, limits_.num_alternatives); }

void BeamSearch::report(int beam, std::vector<TokenLogprob> candidates) {
  Beam& of = beams_[static_cast<size_t>(beam)];
  of.candidates = std::move(candidates);
  of.has_reported = true;
}

bool BeamSearch::is_ready() const { return std::ranges::all_of(beams_, &Beam::has_reported); }

std::vector<BeamSearch::Candidate> BeamSearch::collect() {
  std::vector<Candidate> all;
  for (size_t beam = 0; beam < beams_.size(); ++beam) {
    const std::vector<TokenLogprob>& candidates = beams_[beam].candidates;
    const size_t count = std::min(candidates.size(), 2 * static_cast<size_t>(options_.width));
    for (size_t rank = 0; rank < count; ++rank) {
      if (!std::isfinite(candidates[rank].logprob)) break;
      all.push_back({beam, rank, beams_[beam].logprob + static_cast<double>(candidates[rank].logprob)});
    }
  }
  std::ranges::stable_sort(all, std::ranges::greater(), &Candidate::logprob);
  return all;
}

int64_t BeamSearch::add_node(const Candidate& candidate) {
  const Beam& beam = beams_[candidate.beam];
  const TokenLogprob& token = beam.candidates[candidate.rank];
  const auto num_alternatives = std::min(beam.candidates.size(), static_cast<size_t>(limits_.num_alternatives));
  nodes_.push_back({.parent = beam.last,
                    .token = {.id = token.id,
                              .logprob = token.logprob,
                              .rank = static_cast<int32_t>(candidate.rank),
                              .top = {beam.candidates.begin(),
                                      beam.candidates.begin() + static_cast<std::ptrdiff_t>(num_alternatives)}}});
  return std::ssize(nodes_) - 1;
}

double BeamSearch::score_of(double logprob, int64_t length) const {
  return logprob / std::pow(static_cast<double>(length), static_cast<double>(options_.length_penalty));
}

void BeamSearch::end(const Ended& answer) {
  const auto place = std::ranges::upper_bound(ended_, answer.score, std::ranges::greater(), &Ended::score);
  ended_.insert(place, answer);
  if (std::ssize(ended_) > options_.width) ended_.pop_back();
}

std::vector<BeamSearch::Extension> BeamSearch::advance() {
  CHECK(is_ready());
  ++length_;
  std::vector<Beam> next;
  std::vector<Extension> extensions;
  for (const Candidate& candidate : collect()) {
    const int32_t token = beams_[candidate.beam].candidates[candidate.rank].id;
    if (limits_.is_stop(token)) {
      end({add_node(candidate), candidate.logprob, score_of(candidate.logprob, length_), true});
    } else if (std::ssize(next) < options_.width) {
      next.push_back({.last = add_node(candidate), .logprob = candidate.logprob});
      extensions.push_back({static_cast<int>(candidate.beam), token});
    }
  }
  beams_ = std::move(next);
  if (!is_over()) return extensions;
  // Those that could go on are answers of this length.
  const bool are_wanted = length_ == limits_.max_tokens && !(options_.early_stopping && has_enough());
  for (const Beam& beam : beams_) {
    if (are_wanted) end({beam.last, beam.logprob, score_of(beam.logprob, length_), false});
  }
  return {};
}

// A longer answer is less likely: its score is best where the power of its length helps it most.
double BeamSearch::best_attainable() const {
  const int64_t length = options_.length_penalty > 0.0f ? limits_.max_tokens : length_ + 1;
  return score_of(beams_.front().logprob, length);
}

bool BeamSearch::is_over() const {
  if (beams_.empty() || length_ == limits_.max_tokens) return true;
  if (!has_enough()) return false;
  return options_.early_stopping || best_attainable() <= ended_.back().score;
}

std::vector<BeamSearch::Answer> BeamSearch::best(int count) const {
  std::vector<Answer> answers;
  for (const Ended& ended : ended_) {
    if (std::ssize(answers) == count) break;
    Answer& answer = answers.emplace_back(
        Answer{.tokens = {}, .logprob = ended.logprob, .score = ended.score, .is_stopped = ended.is_stopped});
    for (int64_t node = ended.last; node >= 0; node = nodes_[static_cast<size_t>(node)].parent) {
      answer.tokens.push_back(nodes_[static_cast<size_t>(node)].token);
    }
    std::ranges::reverse(answer.tokens);
  }
  return answers;
}

}  // namespace quire
