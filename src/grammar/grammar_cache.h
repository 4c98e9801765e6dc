// Compiled grammars of one model, found again by what was asked for. The least recently used leave first, so memory
// stays flat however many different grammars clients send.
//
// A grammar that several threads ask for at once is compiled once. A failure is not kept, and nobody gets that of
// another: threads that waited for it compile on their own. Any thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "grammar/grammar_compiler.h"

namespace quire {

class GrammarCache {
 public:
  GrammarCache(CompileGrammar compile, uint64_t max_bytes) : compile_(std::move(compile)), max_bytes_(max_bytes) {}

  // Throws what compiling throws. One that is larger than the cache is returned, but not kept. A grammar in use lives
  // on after it has left.
  std::shared_ptr<const CompiledGrammar> get(const GrammarSpec& spec);

  // One that is kept, or null. Never waits for a compilation.
  std::shared_ptr<const CompiledGrammar> find(const GrammarSpec& spec);

  struct Counts {
    uint64_t num_hits = 0;
    uint64_t num_compiled = 0;
    uint64_t num_failed = 0;
    uint64_t num_grammars = 0;  // kept now
    uint64_t bytes = 0;         // of these
  };
  Counts counts() const;

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const CompiledGrammar> grammar;
    uint64_t bytes = 0;
  };
  using Entries = std::list<Entry>;
  struct Compilation {
    std::condition_variable ended;
    bool has_ended = false;
    std::shared_ptr<const CompiledGrammar> grammar;  // null: it failed
  };

  std::shared_ptr<const CompiledGrammar> find_kept(const std::string& key);
  std::shared_ptr<const CompiledGrammar> compile(const GrammarSpec& spec);
  void keep(const std::string& key, std::shared_ptr<const CompiledGrammar> grammar);
  void measure(Entry& entry);
  void measure_next();

  const CompileGrammar compile_;
  const uint64_t max_bytes_;
  mutable std::mutex mutex_;
  Entries entries_;                                               // the most recently used first
  std::map<std::string, Entries::iterator, std::less<>> places_;  // ordered: no client chooses keys that collide
  std::map<std::string, std::shared_ptr<Compilation>> compilations_;
  Entries::iterator next_measured_ = entries_.end();
  Counts counts_;
};

}  // namespace quire
