#include "grammar/grammar_cache.h"

#include <utility>

namespace quire {
namespace {

// No two specifications have the same.
std::string key_of(const GrammarSpec& spec) {
  std::string key;
  key += static_cast<char>('a' + static_cast<int>(spec.kind));
  key += spec.any_whitespace ? '1' : '0';
  key += spec.any_order ? '1' : '0';
  for (const std::string* part : {&spec.starts_after, &spec.starts_after_begin, &spec.next, &spec.opening}) {
    key += std::to_string(part->size()) + ':' + *part;
  }
  key += spec.text;
  return key;
}

}  // namespace

std::shared_ptr<const CompiledGrammar> GrammarCache::get(const GrammarSpec& spec) {
  const std::string key = key_of(spec);
  std::unique_lock lock(mutex_);
  if (auto found = find_kept(key)) return found;
  const auto [place, is_first] = compilations_.try_emplace(key);
  if (!is_first) {
    const std::shared_ptr<Compilation> other = place->second;
    other->ended.wait(lock, [&] { return other->has_ended; });
    if (other->grammar != nullptr) {
      ++counts_.num_hits;
      return other->grammar;
    }
    lock.unlock();
    return compile(spec);
  }
  const auto compilation = place->second = std::make_shared<Compilation>();
  const auto end = [&] {
    compilation->has_ended = true;
    compilations_.erase(key);
    compilation->ended.notify_all();
  };
  lock.unlock();
  try {
    auto grammar = compile(spec);
    lock.lock();
    compilation->grammar = grammar;
    keep(key, std::move(grammar));
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    end();
    throw;
  }
  end();
  return compilation->grammar;
}

std::shared_ptr<const CompiledGrammar> GrammarCache::find(const GrammarSpec& spec) {
  const std::string key = key_of(spec);
  const std::lock_guard lock(mutex_);
  return find_kept(key);
}

std::shared_ptr<const CompiledGrammar> GrammarCache::find_kept(const std::string& key) {
  const auto found = places_.find(key);
  if (found == places_.end()) return nullptr;
  ++counts_.num_hits;
  entries_.splice(entries_.begin(), entries_, found->second);
  measure(*found->second);
  measure_next();
  return found->second->grammar;
}

std::shared_ptr<const CompiledGrammar> GrammarCache::compile(const GrammarSpec& spec) {
  const auto count = [this](uint64_t Counts::*which) {
    const std::lock_guard lock(mutex_);
    ++(counts_.*which);
  };
  try {
    auto grammar = compile_(spec);
    count(&Counts::num_compiled);
    return grammar;
  } catch (...) {
    count(&Counts::num_failed);
    throw;
  }
}

void GrammarCache::keep(const std::string& key, std::shared_ptr<const CompiledGrammar> grammar) {
  entries_.push_front({.key = key, .grammar = std::move(grammar)});
  places_.emplace(key, entries_.begin());
  measure(entries_.front());
  measure_next();
  while (counts_.bytes > max_bytes_) {
    Entry& last = entries_.back();
    counts_.bytes -= last.bytes;
    places_.erase(last.key);
    if (next_measured_ != entries_.end() && &*next_measured_ == &last) next_measured_ = entries_.end();
    entries_.pop_back();
  }
}

// What matching learns makes a grammar larger.
void GrammarCache::measure(Entry& entry) {
  constexpr uint64_t kOfAnEntry = 256;  // in the list and the map
  const uint64_t bytes = entry.grammar->memory_bytes() + 2 * entry.key.size() + kOfAnEntry;
  counts_.bytes += bytes - std::exchange(entry.bytes, bytes);
}

// One that is in use, but not asked for again, grows too: each call measures one more in turn.
void GrammarCache::measure_next() {
  if (next_measured_ == entries_.end()) next_measured_ = entries_.begin();
  measure(*next_measured_++);
}

GrammarCache::Counts GrammarCache::counts() const {
  const std::lock_guard lock(mutex_);
  Counts counts = counts_;
  counts.num_grammars = entries_.size();
  return counts;
}

}  // namespace quire
