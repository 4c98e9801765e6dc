#include "drafting/lookahead.h"

#include <algorithm>
#include <deque>
#include <unordered_map>

#include "base/check.h"
#include "base/random.h"
#include "drafting/draft_tree.h"
#include "drafting/ngram_pool.h"

namespace quire {
namespace {

// Siblings leave in this order: guesses, then a column's further tokens, then the next column. So the first nodes of
// the tree are guesses and whole columns.
constexpr float kGuessWeight = 3.0f;
constexpr float kColumnWeight = 2.0f;
constexpr float kNextColumnWeight = 1.0f;
// Of a long prompt a proposal takes in this many tokens at most: other sequences wait.
constexpr size_t kTokensPerProposal = 4096;

struct Column {
  std::vector<int32_t> tokens;
  int32_t last_node = -1;  // of tokens.back() in the drafts that were proposed last; -1: it is not among them
};

// What is known of a sequence.
struct Lookahead {
  Lookahead(size_t n, size_t num_guesses) : pool(n, num_guesses) {}

  NgramPool pool;
  size_t num_pooled = 0;      // first tokens whose n-grams are in the pool
  size_t first_position = 0;  // of the first column
  std::deque<Column> columns;
};

class LookaheadDrafter : public Drafter {
 public:
  explicit LookaheadDrafter(const SpeculationOptions& options)
      : n_(static_cast<size_t>(std::max(2, options.lookahead_ngram))),
        num_columns_(static_cast<size_t>(std::max(1, options.lookahead_window))),
        num_guesses_(static_cast<size_t>(std::max(1, options.lookahead_guesses))),
        has_tree_(options.tree),
        column_length_(options.tree ? n_ - 1 : 1) {}

  void propose(std::span<DraftRequest> requests) override {
    for (DraftRequest& request : requests) propose(request);
  }

  void settle(const VerifiedDrafts& verified) override {
    const auto found = sequences_.find(verified.sequence);
    if (found == sequences_.end()) return;
    Lookahead& state = found->second;
    CHECK(static_cast<int64_t>(verified.likeliest.size()) == 1 + verified.num_verified);
    bool advances = false;
    for (Column& column : state.columns) {
      if (column.last_node < 0 || column.last_node >= verified.num_verified) continue;
      column.tokens.push_back(verified.likeliest[static_cast<size_t>(1 + column.last_node)]);
      if (column.tokens.size() == n_) state.pool.add(column.tokens);
      column.tokens.erase(column.tokens.begin());
      column.last_node = -1;
      advances = true;
    }
    if (advances) ++state.first_position;
  }

  void finish(uint64_t sequence, std::span<const int32_t> /*tokens*/, int64_t /*num_prompt_tokens*/,
              std::string_view /*salt*/) override {
    sequences_.erase(sequence);
  }

  bool reads_likeliest() const override { return true; }

  // Acceptance says nothing of the window, which makes the guesses of later steps.
  bool is_all_or_none() const override { return true; }

  size_t memory_bytes() const override {
    size_t bytes = 0;
    for (const auto& [id, state] : sequences_) {
      bytes += sizeof(state) + state.pool.memory_bytes() + num_columns_ * (sizeof(Column) + n_ * sizeof(int32_t));
    }
    return bytes;
  }

 private:
  void propose(DraftRequest& request) {
    const std::span<const int32_t> tokens = request.tokens;
    Lookahead& state = sequences_.try_emplace(request.sequence, n_, num_guesses_).first->second;
    const size_t end = std::min(tokens.size(), state.num_pooled + kTokensPerProposal);
    for (; state.num_pooled + n_ <= end; ++state.num_pooled) {
      state.pool.add(tokens.subspan(state.num_pooled, n_));
    }
    move_window(state, tokens);
    const auto max_drafts = static_cast<size_t>(request.max_drafts);
    DraftTree tree;
    if (has_tree_) {
      add_guesses(state, tokens.back(), max_drafts, tree);
    } else {
      begin_window(state, tokens.back());
    }
    const std::vector<int32_t> last_nodes = add_columns(state, max_drafts, tree);
    if (tree.size() < static_cast<size_t>(request.min_drafts)) return;
    const std::vector<int32_t> places = tree.write(*request.drafts);
    for (size_t i = 0; i < last_nodes.size(); ++i) {
      state.columns[i].last_node = places[static_cast<size_t>(last_nodes[i])];
    }
  }

  // The first column stands after the last token. Columns that are new begin as tokens that stand somewhere in the
  // text.
  void move_window(Lookahead& state, std::span<const int32_t> tokens) const {
    for (; state.first_position < tokens.size(); ++state.first_position) {
      if (!state.columns.empty()) state.columns.pop_front();
    }
    for (Column& column : state.columns) column.last_node = -1;
    while (state.columns.size() < num_columns_) {
      const uint64_t place = philox(tokens.size(), state.columns.size()) % tokens.size();
      Column column;
      for (size_t i = 0; i < column_length_; ++i) column.tokens.push_back(tokens[(place + i) % tokens.size()]);
      state.columns.push_back(std::move(column));
    }
  }

  // Guesses have half of the drafts, and what the window cannot use.
  void add_guesses(const Lookahead& state, int32_t last_token, size_t max_drafts, DraftTree& tree) const {
    const std::span<const int32_t> rests = state.pool.find(last_token);
    const size_t window_drafts = num_columns_ * column_length_;
    size_t limit = std::max({max_drafts / 2, max_drafts - std::min(max_drafts, window_drafts), n_ - 1});
    limit = std::min(limit, max_drafts);
    for (size_t i = 0; i < rests.size(); i += n_ - 1) {
      int32_t node = DraftTree::kRoot;
      for (const int32_t token : rests.subspan(i, n_ - 1)) {
        if (tree.size() == limit && tree.find(node, token) == DraftTree::kRoot) return;
        node = tree.add(node, token, kGuessWeight);
      }
    }
  }

  // A chain: the latest guess stands in the place of the first columns.
  void begin_window(Lookahead& state, int32_t last_token) const {
    const std::span<const int32_t> rests = state.pool.find(last_token);
    const size_t num_tokens = std::min({rests.size(), n_ - 1, num_columns_});
    for (size_t i = 0; i < num_tokens; ++i) state.columns[i].tokens[0] = rests[i];
  }

  // Returns the last node of each column that fits.
  std::vector<int32_t> add_columns(const Lookahead& state, size_t max_drafts, DraftTree& tree) const {
    std::vector<int32_t> last_nodes;
    int32_t first = DraftTree::kRoot;  // the node of the first token of the column before
    for (const Column& column : state.columns) {
      if (tree.size() + column_length_ > max_drafts) break;
      first = tree.add(first, column.tokens[0], kNextColumnWeight);
      int32_t node = first;
      for (size_t i = 1; i < column_length_; ++i) node = tree.add(node, column.tokens[i], kColumnWeight);
      last_nodes.push_back(node);
    }
    return last_nodes;
  }

  size_t n_;
  size_t num_columns_;
  size_t num_guesses_;
  bool has_tree_;
  size_t column_length_;
  std::unordered_map<uint64_t, Lookahead> sequences_;
};

}  // namespace

std::unique_ptr<Drafter> make_lookahead_drafter(const SpeculationOptions& options) {
  return std::make_unique<LookaheadDrafter>(options);
}

}  // namespace quire
