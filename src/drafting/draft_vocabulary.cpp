#include "drafting/draft_vocabulary.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <unordered_map>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

constexpr int32_t kNone = -1;

std::span<const std::string> known_texts(const VocabularyTexts& side) {
  return side.texts.first(std::min(side.texts.size(), static_cast<size_t>(side.size)));
}

}  // namespace

DraftVocabulary::DraftVocabulary(const VocabularyTexts& target, const VocabularyTexts& draft)
    : to_draft_(static_cast<size_t>(target.size), kNone) {
  match(target, draft);
  finish(draft.size);
}

DraftVocabulary::DraftVocabulary(int64_t target_size, std::span<const int32_t> target_ids, const std::string& name)
    : to_draft_(static_cast<size_t>(target_size), kNone) {
  for (size_t id = 0; id < target_ids.size(); ++id) {
    const int32_t target_id = target_ids[id];
    if (target_id < 0 || target_id >= target_size || to_draft_[static_cast<size_t>(target_id)] != kNone) {
      fail(ErrorCode::kCorrupt, "{}: its token {} is token {} of the target, expected another one of 0 to {} for each",
           name, id, target_id, target_size - 1);
    }
    to_draft_[static_cast<size_t>(target_id)] = static_cast<int32_t>(id);
  }
  finish(static_cast<int64_t>(target_ids.size()));
}

void DraftVocabulary::finish(int64_t draft_size) {
  to_target_.assign(static_cast<size_t>(draft_size), kNone);
  same_ids_ = true;
  for (size_t id = 0; id < to_draft_.size(); ++id) {
    same_ids_ = same_ids_ && to_draft_[id] == static_cast<int32_t>(id);
    if (to_draft_[id] != kNone) to_target_[static_cast<size_t>(to_draft_[id])] = static_cast<int32_t>(id);
  }
}

void DraftVocabulary::match(const VocabularyTexts& target, const VocabularyTexts& draft) {
  const std::span<const std::string> target_texts = known_texts(target);
  const std::span<const std::string> draft_texts = known_texts(draft);
  if (target_texts.empty() && draft_texts.empty() && target.size == draft.size) {
    for (size_t id = 0; id < to_draft_.size(); ++id) to_draft_[id] = static_cast<int32_t>(id);
    return;
  }
  std::unordered_map<std::string_view, int32_t> draft_ids;
  for (size_t id = 0; id < draft_texts.size(); ++id) draft_ids.emplace(draft_texts[id], static_cast<int32_t>(id));
  draft_ids.erase("");  // ids without a token
  const auto num_tokens = std::ranges::count_if(target_texts, [](const std::string& text) { return !text.empty(); });
  int64_t num_matched = 0;
  for (size_t id = 0; id < target_texts.size(); ++id) {
    const std::string& text = target_texts[id];
    if (id < draft_texts.size() && draft_texts[id] == text) {
      to_draft_[id] = static_cast<int32_t>(id);
    } else if (const auto found = draft_ids.find(text); found != draft_ids.end()) {
      to_draft_[id] = found->second;
    }
    if (to_draft_[id] != kNone && !text.empty()) ++num_matched;
  }
  if (num_matched == 0 || num_matched * 10 < num_tokens * 9) {
    refuse(target, draft, num_matched);
  }
  // Ids beyond the texts are padding, which no model means: they may correspond, so that equal vocabularies are.
  for (size_t id = target_texts.size(); id < to_draft_.size() && static_cast<int64_t>(id) < draft.size; ++id) {
    if (id >= draft_texts.size()) to_draft_[id] = static_cast<int32_t>(id);
  }
}

void DraftVocabulary::refuse(const VocabularyTexts& target, const VocabularyTexts& draft, int64_t num_matched) {
  const std::span<const std::string> target_texts = known_texts(target);
  const std::span<const std::string> draft_texts = known_texts(draft);
  const auto [in_target, in_draft] = std::ranges::mismatch(target_texts, draft_texts);
  const auto text_of = [](std::span<const std::string> texts, auto at) {
    return at == texts.end() ? std::string("not there") : "\"" + printable(*at) + "\"";
  };
  fail(ErrorCode::kInvalidArgument,
       "{} cannot draft for {}: {} of the target's {} tokens are in its vocabulary of {}, expected 9 in 10; the first "
       "difference is token {}, {} in the target and {} in the draft model. Use a draft model of the target's family, "
       "with the same tokenizer",
       draft.name, target.name, num_matched, target.size, draft.size, in_target - target_texts.begin(),
       text_of(target_texts, in_target), text_of(draft_texts, in_draft));
}

int32_t DraftVocabulary::to_draft(int32_t target_token) const {
  CHECK(target_token >= 0 && static_cast<size_t>(target_token) < to_draft_.size());
  return std::max(0, to_draft_[static_cast<size_t>(target_token)]);
}

std::span<const float> DraftVocabulary::to_target(std::span<const float> logits, std::span<float> room) const {
  if (same_ids_) return logits.first(to_draft_.size());
  CHECK(room.size() == to_draft_.size());
  for (size_t id = 0; id < room.size(); ++id) {
    const int32_t draft_id = to_draft_[id];
    room[id] = draft_id == kNone ? -std::numeric_limits<float>::infinity() : logits[static_cast<size_t>(draft_id)];
  }
  return room;
}

}  // namespace quire
