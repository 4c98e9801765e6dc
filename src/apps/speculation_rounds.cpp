#include "apps/speculation_rounds.h"

#include <chrono>
#include <memory>

#include "base/error.h"

namespace quire {
namespace {

class Streams {
 public:
  Streams(Engine& engine, const std::vector<GenerateRequest>& requests, const RoundSettings& settings)
      : engine_(engine), requests_(requests), settings_(settings) {
    round_.answers.resize(requests.size());
  }

  // max_tokens < 0: those of the requests.
  SpeculationRound run(int64_t max_tokens) {
    const auto start = std::chrono::steady_clock::now();
    while (next_ < requests_.size() || !open_.empty()) {
      while (next_ < requests_.size() && static_cast<int64_t>(open_.size()) < settings_.streams) submit(max_tokens);
      engine_.step();
      std::erase_if(open_, [this](const Open& open) { return read(open); });
    }
    round_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return std::move(round_);
  }

 private:
  struct Open {
    size_t index;
    std::shared_ptr<OutputStream> stream;
  };

  void submit(int64_t max_tokens) {
    GenerateRequest request = requests_[next_];
    request.cache_salt = settings_.salt + request.cache_salt;
    if (max_tokens >= 0) request.max_tokens = max_tokens;
    auto stream = engine_.submit(std::move(request)).stream;
    if (!stream) fail(ErrorCode::kLimit, "the engine's queue refused request {}", next_ + 1);
    open_.push_back({next_++, std::move(stream)});
  }

  // Reads the events that are there; true when the answer is complete.
  bool read(const Open& open) {
    while (const auto event = open.stream->try_next()) {
      if (event->has_token) {
        ++round_.num_tokens;
        round_.answers[open.index].push_back(event->token.id);
      }
      if (event->finish == FinishReason::kNone) continue;
      round_.num_drafts += event->drafts.num_verified;
      round_.num_accepted += event->drafts.num_accepted;
      if (event->finish == FinishReason::kStop || event->finish == FinishReason::kLength) continue;
      fail(ErrorCode::kCorrupt, "request {} ended with {}", open.index + 1, name(event->finish));
    }
    return open.stream->is_drained();
  }

  Engine& engine_;
  const std::vector<GenerateRequest>& requests_;
  const RoundSettings& settings_;
  size_t next_ = 0;
  std::vector<Open> open_;
  SpeculationRound round_;
};

}  // namespace

SpeculationRound run_round(Engine& engine, const std::vector<GenerateRequest>& requests,
                           const RoundSettings& settings) {
  if (!settings.counts_prompts) Streams(engine, requests, settings).run(/*max_tokens=*/1);
  return Streams(engine, requests, settings).run(/*max_tokens=*/-1);
}

}  // namespace quire
