#include "grammar/compile.h"

#include <algorithm>
#include <mutex>

#include "base/check.h"
#include "base/error.h"
#include "grammar/token_masks.h"

namespace quire {
namespace {

// Parts of GrammarLimits::max_work.
constexpr size_t kCallShare = 4;       // what one call may use
constexpr size_t kTokenShare = 2'000;  // what a token of the answer adds: long answers are no worse off
constexpr size_t kGuessShare = 4096;   // of what is left, a millisecond: a guess that takes longer is not worth it
constexpr size_t kBytesPerUnit = 64;   // of copying a grammar
// Times that a choice may fill the memory, and tokens of its answer for one more.
constexpr size_t kMaxFreshStarts = 16, kTokensPerFreshStart = 512;

class SharedGrammar final : public CompiledGrammar, public std::enable_shared_from_this<SharedGrammar> {
 public:
  SharedGrammar(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie,
                const GrammarLimits& limits)
      : grammar_(std::move(grammar)), trie_(std::move(trie)), limits_(limits), masks_(make_masks()) {}

  std::unique_ptr<TokenConstraint> begin() const override;
  size_t memory_bytes() const override { return grammar_->regular.memory_bytes() + current()->memory_bytes(); }
  const TokenTrie& trie() const { return *trie_; }
  const GrammarLimits& limits() const { return limits_; }

  // What was learnt so far; or nothing, when that is `full` or fills half of the memory: those who still use the old
  // ones may add as much to them.
  std::shared_ptr<TokenMasks> masks(const std::shared_ptr<TokenMasks>& full) const {
    const std::shared_ptr<TokenMasks> old = current();
    if (old != full && !old->is_half_full()) return old;
    auto fresh = make_masks();
    const std::lock_guard lock(mutex_);
    if (masks_ == old) masks_ = std::move(fresh);
    return masks_;
  }

 private:
  std::shared_ptr<TokenMasks> make_masks() const { return std::make_shared<TokenMasks>(*grammar_, *trie_, limits_); }
  std::shared_ptr<TokenMasks> current() const {
    const std::lock_guard lock(mutex_);
    return masks_;
  }

  const std::shared_ptr<const Grammar> grammar_;
  const std::shared_ptr<const TokenTrie> trie_;
  const GrammarLimits limits_;
  mutable std::mutex mutex_;  // held for as long as it takes to copy the pointer
  mutable std::shared_ptr<TokenMasks> masks_;
};

class GrammarConstraint final : public TokenConstraint {
 public:
  explicit GrammarConstraint(std::shared_ptr<const SharedGrammar> grammar)
      : grammar_(std::move(grammar)),
        masks_(grammar_->masks(nullptr)),
        set_(masks_->start()),
        work_left_(grammar_->limits().max_work) {}

  void fill_mask(std::span<uint64_t> mask) override {
    if (is_finished_) return std::ranges::fill(mask, 0), void();
    use([&] { masks_->fill_mask(set_, mask); });
  }

  void accept(int32_t token) override {
    if (is_finished_) return;
    work_left_ += max_work() / kTokenShare;
    TokenMasks::SetId next = Recognizer::kDead;
    use([&] { next = masks_->after(set_, token); });
    if (next == Recognizer::kDead && grammar_->trie().is_eog(token)) {
      is_finished_ = true;
    } else {
      tokens_.push_back(token);
      set_ = next;
    }
  }

  bool is_complete() const override {
    if (is_finished_) return true;
    const std::lock_guard lock(masks_->mutex());
    return masks_->is_accepting(set_) && !masks_->continues(set_);
  }

  void guess(size_t limit, std::vector<int32_t>& tokens) override {
    if (is_finished_) return;
    const size_t before = tokens.size();
    if (!try_little([&] { masks_->guess(set_, limit, tokens); })) tokens.resize(before);
  }

  size_t count_fitting(std::span<const int32_t> tokens) override {
    size_t count = 0;
    if (is_finished_) return count;
    return try_little([&] { count = masks_->count_fitting(set_, tokens); }) ? count : tokens.size();
  }

 private:
  // Where the memory is full, once more with nothing learnt.
  template <typename Action>
  void use(Action action) {
    const size_t most = max_work() / kCallShare;
    const std::shared_ptr<TokenMasks> shared = grammar_->masks(nullptr);
    try {
      move_to(shared);
      learn(most, action);
    } catch (const Error&) {
      if (!shared->is_half_full()) throw;
      move_to(grammar_->masks(shared));
      learn(most, action);
    }
  }

  // What may as well be left out: false where it takes too long, or more memory than there is.
  template <typename Action>
  bool try_little(Action action) {
    try {
      move_to(grammar_->masks(nullptr));
      learn(work_left_ / kGuessShare, action);
      return true;
    } catch (const Error&) {
      return false;
    }
  }

  template <typename Action>
  void learn(size_t most, Action action) {
    const struct Note {
      ~Note() { has_filled = has_filled || masks->is_half_full(); }
      const std::shared_ptr<TokenMasks>& masks;
      bool& has_filled;
    } note = {masks_, has_filled_};
    masks_->use(std::min(most, work_left_), work_left_, action);
  }

  // The sets of other masks have other ids: the tokens are read again. The choice that filled the old ones pays for it;
  // no choice fails by what its neighbours learn.
  void move_to(std::shared_ptr<TokenMasks> masks) {
    if (masks == masks_) return;
    size_t granted = max_work() + tokens_.size() * (max_work() / kTokenShare);
    if (has_filled_) {
      // Else a grammar that fills the memory with every token would cost quadratic time.
      if (++num_fresh_starts_ > kMaxFreshStarts + tokens_.size() / kTokensPerFreshStart) {
        fail(ErrorCode::kLimit, "the grammar needs too much memory");
      }
      work_left_ -= std::min(work_left_, masks->memory_bytes() / kBytesPerUnit);
    }
    size_t& left = has_filled_ ? work_left_ : granted;
    TokenMasks::SetId set = masks->start();
    masks->use(left, left, [&] {
      for (const int32_t token : tokens_) set = masks->after(set, token);
    });
    has_filled_ = masks->is_half_full();
    masks_ = std::move(masks);
    set_ = set;
  }

  size_t max_work() const { return grammar_->limits().max_work; }

  const std::shared_ptr<const SharedGrammar> grammar_;
  std::shared_ptr<TokenMasks> masks_;
  TokenMasks::SetId set_;
  std::vector<int32_t> tokens_ = {};
  size_t work_left_;         // of the limits' max_work
  bool has_filled_ = false;  // it was this choice that filled the masks
  size_t num_fresh_starts_ = 0;
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
