// The likeliest tokens that may follow a beam (beam_search.h): it chooses none itself.
#pragma once

#include <optional>

#include "engine/outputs/output.h"

namespace quire {

class BeamCandidates : public Output {
 public:
  // `count`: of the tokens.
  explicit BeamCandidates(int count) : count_(count) {}

  int64_t num_pieces(const Rows& rows) override { return rows.samples ? 1 : 0; }
  void consume(const Rows& rows, int64_t /*piece*/, SamplerScratch& scratch) override {
    report_ = report_token(rows.logits_of(rows.num_rows - 1), 0, count_, scratch);
  }
  // No candidates where the logits hold a NaN or +infinity.
  void publish(const Rows& rows, Update& update) override {
    if (rows.samples && report_) update.candidates = std::move(report_->top);
  }

 private:
  const int count_;
  std::optional<SampledToken> report_;
};

}  // namespace quire
