// Which tokens of a draft model stand for which of the target's. The models need not share a vocabulary: tokens with
// one text are one token.
//
// Immutable once made; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace quire {

// The vocabulary of a model as its tokenizer spells it.
struct VocabularyTexts {
  std::string name = {};  // of the checkpoint, for messages
  int64_t size = 0;       // of the model's logits; often more than there are texts
  std::span<const std::string> texts =
      {};  // by token id, both models' in one spelling; empty ones are no tokens. None: no tokenizer
};

class DraftVocabulary {
 public:
  // Throws Error kInvalidArgument, naming the first token that differs, when fewer than 9 in 10 of the target's tokens
  // have one of the same text. Without texts on either side vocabularies of one size count as equal.
  DraftVocabulary(const VocabularyTexts& target, const VocabularyTexts& draft);
  // `target_ids`: the target's token for each of the draft's. Throws Error kCorrupt for an id that the target does not
  // have, or has twice.
  DraftVocabulary(int64_t target_size, std::span<const int32_t> target_ids, const std::string& name);

  int64_t draft_size() const { return static_cast<int64_t>(to_target_.size()); }
  int64_t target_size() const { return static_cast<int64_t>(to_draft_.size()); }
  // The draft model's token for one of the target's. Where there is none it is token 0, so that what follows can be
  // drafted still.
  int32_t to_draft(int32_t target_token) const;
  // The target's token for one of the draft model's, -1 where there is none.
  int32_t to_target(int32_t draft_token) const { return to_target_[static_cast<size_t>(draft_token)]; }
  // The draft model's logits [draft size] in the order of the target's tokens [target_size()]; those that the draft
  // model does not have are impossible. `room` has target_size() floats; unused where ids are equal.
  std::span<const float> to_target(std::span<const float> logits, std::span<float> room) const;

 private:
  void match(const VocabularyTexts& target, const VocabularyTexts& draft);
  void finish(int64_t draft_size);  // all else from to_draft_
  [[noreturn]] static void refuse(const VocabularyTexts& target, const VocabularyTexts& draft, int64_t num_matched);

  std::vector<int32_t> to_draft_;   // by the target's id; -1: there is none
  std::vector<int32_t> to_target_;  // by the draft model's id; likewise
  bool same_ids_ = false;           // every token has its own id in both
};

}  // namespace quire
