#include "drafting/ngram.h"

#include <algorithm>
#include <unordered_map>

#include "drafting/ngram_index.h"

namespace quire {
namespace {

// Follows the answer through what the client expects it to be.
class PredictionReader {
 public:
  explicit PredictionReader(int n) : index_(n) {}

  // `answer`: the generated tokens. A match as long as `max_length` where the answer is in step with the prediction.
  NgramIndex::Match read(std::span<const int32_t> prediction, std::span<const int32_t> answer, int max_length) {
    const auto length = static_cast<int64_t>(prediction.size());
    for (; num_read_ < answer.size(); ++num_read_) {
      in_step_ = place_ < length && prediction[static_cast<size_t>(place_)] == answer[num_read_];
      place_ += in_step_ ? 1 : 0;
    }
    if (!in_step_) {
      index_.extend(prediction);
      const NgramIndex::Match match = index_.longest_match(prediction, answer, max_length, place_);
      if (match.end < 0) return {};
      place_ = match.end;
      in_step_ = true;
      return match;
    }
    if (place_ == length) return {};
    return {.end = place_, .length = max_length};
  }

  size_t memory_bytes() const { return index_.memory_bytes(); }

 private:
  NgramIndex index_;
  size_t num_read_ = 0;  // tokens of the answer
  int64_t place_ = 0;    // in the prediction: what comes next there, or where the answer left it
  bool in_step_ = true;  // the last token of the answer stands before that place
};

class NgramDrafter : public Drafter {
 public:
  explicit NgramDrafter(const SpeculationOptions& options)
      : min_(std::max(1, options.ngram_min)), max_(std::max(min_, options.ngram_max)) {}

  void propose(std::span<DraftRequest> requests) override {
    for (DraftRequest& request : requests) propose(request);
  }

  void finish(uint64_t sequence, std::span<const int32_t> /*tokens*/, int64_t /*num_prompt_tokens*/,
              std::string_view /*salt*/) override {
    readers_.erase(sequence);
  }

  size_t memory_bytes() const override {
    size_t bytes = 0;
    for (const auto& [id, reader] : readers_) {
      bytes += sizeof(reader) + reader.text.memory_bytes() + reader.prediction.memory_bytes();
    }
    return bytes;
  }

 private:
  struct Reader {
    NgramIndex text;
    PredictionReader prediction;
  };

  void propose(DraftRequest& request) {
    const std::span<const int32_t> tokens = request.tokens;
    Reader& reader =
        readers_.try_emplace(request.sequence, Reader{NgramIndex(min_), PredictionReader(min_)}).first->second;
    reader.text.extend(tokens);
    NgramIndex::Match match = reader.text.longest_match(tokens, tokens, max_);
    std::span<const int32_t> source = tokens;
    if (!request.prediction.empty()) {
      const std::span<const int32_t> answer = tokens.subspan(static_cast<size_t>(request.num_prompt_tokens));
      const NgramIndex::Match predicted = reader.prediction.read(request.prediction, answer, max_);
      if (predicted.end >= 0 && predicted.length >= match.length) {
        match = predicted;
        source = request.prediction;
      }
    }
    if (match.end < 0) return;
    std::vector<int32_t>& drafts = request.drafts->tokens;
    const auto num_drafts = static_cast<size_t>(request.max_drafts);
    for (auto place = static_cast<size_t>(match.end); drafts.size() < num_drafts; ++place) {
      if (place < source.size()) {
        drafts.push_back(source[place]);
      } else if (source.data() == tokens.data()) {
        drafts.push_back(drafts[place - source.size()]);
      } else {
        break;
      }
    }
    if (drafts.size() < static_cast<size_t>(request.min_drafts)) drafts.clear();
  }

  int min_;
  int max_;
  std::unordered_map<uint64_t, Reader> readers_;  // by sequence
};

}  // namespace

std::unique_ptr<Drafter> make_ngram_drafter(const SpeculationOptions& options) {
  return std::make_unique<NgramDrafter>(options);
}

}  // namespace quire
