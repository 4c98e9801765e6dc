// Finds stop strings in text that arrives in pieces; holds back text that may still become one.
//
// One object per choice, used by the reader of its stream. Text is returned as soon as it can no longer be part of a
// stop string. Time is linear in the text's length for each stop string.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quire {

class StopMatcher {
 public:
  StopMatcher(std::vector<std::string> stops, bool include_stop)
      : stops_(std::move(stops)), include_stop_(include_stop) {}

  // Text that is safe to show after `piece`. After a match nothing more is returned.
  std::string push(std::string_view piece);
  // The generation ends: returns the text that was held back.
  std::string finish();
  bool is_matched() const { return !matched_.empty(); }
  const std::string& matched() const { return matched_; }

 private:
  std::vector<std::string> stops_;
  bool include_stop_;
  std::string held_;
  std::string matched_;
};

}  // namespace quire
