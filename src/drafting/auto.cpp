#include "drafting/auto.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "base/check.h"
#include "drafting/ngram.h"
#include "drafting/suffix.h"

namespace quire {
namespace {

// What a proposal is worth: its accepted drafts, less this much for each verified one.
constexpr double kRowCost = 0.1;
// Before a drafter has proposed anything for a sequence.
constexpr double kFirstWorth = 1.0;
constexpr double kLearning = 0.25;
// A drafter that is not asked is tried again after some dozens of proposals.
constexpr double kForgetting = 0.03;

// A copy of this many tokens goes on; after fewer, counts say more than the last place.
constexpr int kSureMatch = 3;

// How the drafters did for a sequence.
struct Record {
  std::vector<double> worth;  // by drafter, of its proposals lately
  size_t proposer = 0;        // of the drafts that were proposed last
};

class CombinedDrafter : public Drafter {
 public:
  explicit CombinedDrafter(std::vector<std::unique_ptr<Drafter>> drafters) : drafters_(std::move(drafters)) {
    CHECK(!drafters_.empty());
  }

  void propose(std::span<DraftRequest> requests) override {
    // preferences[i][r]: the drafter that request i asks in round r.
    std::vector<std::vector<size_t>> preferences;
    for (const DraftRequest& request : requests) preferences.push_back(preference(record_of(request.sequence)));
    std::vector<DraftRequest> asked;
    for (size_t round = 0; round < drafters_.size(); ++round) {
      for (size_t drafter = 0; drafter < drafters_.size(); ++drafter) {
        asked.clear();
        for (size_t i = 0; i < requests.size(); ++i) {
          if (requests[i].drafts->empty() && preferences[i][round] == drafter) asked.push_back(requests[i]);
        }
        if (asked.empty()) continue;
        drafters_[drafter]->propose(asked);
        for (const DraftRequest& request : asked) {
          if (!request.drafts->empty()) records_.at(request.sequence).proposer = drafter;
        }
      }
    }
  }

  void settle(const VerifiedDrafts& verified) override {
    const auto found = records_.find(verified.sequence);
    if (found == records_.end()) return;
    Record& record = found->second;
    drafters_[record.proposer]->settle(verified);
    const double worth =
        static_cast<double>(verified.num_accepted) - kRowCost * static_cast<double>(verified.num_verified);
    for (size_t i = 0; i < drafters_.size(); ++i) {
      const bool proposed = i == record.proposer;
      record.worth[i] +=
          proposed ? kLearning * (worth - record.worth[i]) : kForgetting * (kFirstWorth - record.worth[i]);
    }
  }

  void finish(uint64_t sequence, std::span<const int32_t> tokens, int64_t num_prompt_tokens,
              std::string_view salt) override {
    records_.erase(sequence);
    for (const auto& drafter : drafters_) drafter->finish(sequence, tokens, num_prompt_tokens, salt);
  }

  size_t memory_bytes() const override {
    size_t bytes = records_.size() * (sizeof(Record) + drafters_.size() * sizeof(double));
    for (const auto& drafter : drafters_) bytes += drafter->memory_bytes();
    return bytes;
  }

  bool is_all_or_none() const override {
    return std::any_of(drafters_.begin(), drafters_.end(), [](const auto& one) { return one->is_all_or_none(); });
  }

  bool reads_likeliest() const override {
    return std::any_of(drafters_.begin(), drafters_.end(), [](const auto& one) { return one->reads_likeliest(); });
  }

  HiddenUse hidden_use() const override {
    HiddenUse use = HiddenUse::kNone;
    for (const auto& drafter : drafters_) use = std::max(use, drafter->hidden_use());
    return use;
  }

  std::vector<int> tapped_layers() const override {
    for (const auto& drafter : drafters_) {
      if (std::vector<int> layers = drafter->tapped_layers(); !layers.empty()) return layers;
    }
    return {};
  }

  void observe(std::span<const HiddenRows> rows) override {
    for (const auto& drafter : drafters_) {
      if (drafter->hidden_use() != HiddenUse::kNone) drafter->observe(rows);
    }
  }

 private:
  Record& record_of(uint64_t sequence) {
    return records_.try_emplace(sequence, Record{.worth = std::vector<double>(drafters_.size(), kFirstWorth)})
        .first->second;
  }

  std::vector<size_t> preference(const Record& record) const {
    std::vector<size_t> order(drafters_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&record](size_t a, size_t b) { return record.worth[a] > record.worth[b]; });
    return order;
  }

  std::vector<std::unique_ptr<Drafter>> drafters_;  // the cheapest first
  std::unordered_map<uint64_t, Record> records_;    // by sequence
};

}  // namespace

std::unique_ptr<Drafter> combine_drafters(std::vector<std::unique_ptr<Drafter>> drafters) {
  return std::make_unique<CombinedDrafter>(std::move(drafters));
}

std::unique_ptr<Drafter> make_auto_drafter(const SpeculationOptions& options) {
  std::vector<std::unique_ptr<Drafter>> drafters;
  SpeculationOptions sure = options;
  sure.ngram_min = std::max(options.ngram_min, kSureMatch);
  sure.ngram_max = std::max(options.ngram_max, kSureMatch);
  drafters.push_back(make_ngram_drafter(sure));
  drafters.push_back(make_suffix_drafter(options));
  return combine_drafters(std::move(drafters));
}

}  // namespace quire
