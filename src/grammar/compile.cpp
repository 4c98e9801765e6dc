#include "grammar/compile.h"

#include <algorithm>
#include <mutex>

#include "base/check.h"
#include "base/error.h"
#include "grammar/token_masks.h"

namespace quire {
namespace {

constexpr int kMaxFreshStarts = 16;

class SharedGrammar final : public CompiledGrammar, public std::enable_shared_from_this<SharedGrammar> {
 public:
  SharedGrammar(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie,
                const GrammarLimits& limits)
      : grammar_(std::move(grammar)),
        trie_(std::move(trie)),
        limits_(limits),
        masks_(std::make_shared<TokenMasks>(*grammar_, *trie_, limits_)) {}

  std::unique_ptr<TokenConstraint> begin() const override;
  size_t memory_bytes() const override {
    const std::lock_guard lock(mutex_);
    return grammar_->regular.memory_bytes() + masks_->memory_bytes();
  }
  const TokenTrie& trie() const { return *trie_; }

  // What was learnt so far; or nothing, when that is `full` or fills half of the memory: those who still use the old
  // ones may add as much to them.
  std::shared_ptr<TokenMasks> masks(const std::shared_ptr<TokenMasks>& full) const {
    const std::lock_guard lock(mutex_);
    if (masks_ == full || masks_->memory_bytes() > limits_.max_memory_bytes / 2) {
      masks_ = std::make_shared<TokenMasks>(*grammar_, *trie_, limits_);
    }
    return masks_;
  }

 private:
  std::shared_ptr<const Grammar> grammar_;
  std::shared_ptr<const TokenTrie> trie_;
  GrammarLimits limits_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<TokenMasks> masks_;
};

class GrammarConstraint final : public TokenConstraint {
 public:
  explicit GrammarConstraint(std::shared_ptr<const SharedGrammar> grammar)
      : grammar_(std::move(grammar)), masks_(grammar_->masks(nullptr)), set_(masks_->start()) {}

  void fill_mask(std::span<uint64_t> mask) override {
    if (is_finished_) return std::ranges::fill(mask, 0), void();
    use([&] { masks_->fill_mask(set_, mask); });
  }

  void accept(int32_t token) override {
    if (is_finished_) return;
    use([&] {
      const TokenMasks::SetId next = masks_->after(set_, token);
      if (next == Recognizer::kDead && grammar_->trie().is_eog(token)) {
        is_finished_ = true;
      } else {
        set_ = next;
        tokens_.push_back(token);
      }
    });
  }

  bool is_complete() const override {
    if (is_finished_) return true;
    const std::lock_guard lock(masks_->mutex());
    return masks_->is_accepting(set_) && !masks_->continues(set_);
  }

  void guess(size_t limit, std::vector<int32_t>& tokens) override {
    if (is_finished_) return;
    const size_t before = tokens.size();
    use([&] {
      tokens.resize(before);
      masks_->guess(set_, limit, tokens);
    });
  }

  size_t count_fitting(std::span<const int32_t> tokens) override {
    size_t count = 0;
    if (is_finished_) return count;
    use([&] { count = masks_->count_fitting(set_, tokens); });
    return count;
  }

 private:
  // Runs under the lock. Where that goes beyond the limits, once more with nothing learnt.
  template <typename Action>
  void use(Action action) {
    move_to(grammar_->masks(nullptr));
    try {
      const std::lock_guard lock(masks_->mutex());
      action();
    } catch (const Error&) {
      move_to(grammar_->masks(masks_));
      const std::lock_guard lock(masks_->mutex());
      action();
    }
  }

  // The sets of other masks have other ids: the tokens are read again.
  void move_to(std::shared_ptr<TokenMasks> masks) {
    if (masks == masks_) return;
    // Else a grammar that fills the memory with every token would cost quadratic time.
    if (++num_fresh_starts_ > kMaxFreshStarts) fail(ErrorCode::kLimit, "the grammar needs too much memory");
    masks_ = std::move(masks);
    const std::lock_guard lock(masks_->mutex());
    set_ = masks_->start();
    for (const int32_t token : tokens_) set_ = masks_->after(set_, token);
  }

  std::shared_ptr<const SharedGrammar> grammar_;
  std::shared_ptr<TokenMasks> masks_;
  TokenMasks::SetId set_;
  std::vector<int32_t> tokens_ = {};
  int num_fresh_starts_ = 0;
  bool is_finished_ = false;  // an end-of-generation token was accepted
};

std::unique_ptr<TokenConstraint> SharedGrammar::begin() const {
  return std::make_unique<GrammarConstraint>(shared_from_this());
}

}  // namespace

std::shared_ptr<const CompiledGrammar> compile_grammar(std::shared_ptr<const Grammar> grammar,
                                                       std::shared_ptr<const GrammarVocabulary> vocabulary,
                                                       const GrammarLimits& limits) {
  auto trie = std::dynamic_pointer_cast<const TokenTrie>(vocabulary);
  CHECK(trie != nullptr);
  return std::make_shared<SharedGrammar>(std::move(grammar), std::move(trie), limits);
}

}  // namespace quire
