#include "engine/engine_thread.h"

namespace quire {

EngineThread::EngineThread(Engine& engine) : engine_(engine) {
  engine_.set_wake([this] {
    wakes_.fetch_add(1, std::memory_order_release);
    wakes_.notify_one();
  });
  thread_ = std::thread([this] { work(); });
}

EngineThread::~EngineThread() {
  stop_ = true;
  wakes_.fetch_add(1, std::memory_order_release);
  wakes_.notify_one();
  thread_.join();
}

void EngineThread::work() {
  while (true) {
    // Read before the work is looked for: a request that arrives after that look changes it.
    const uint32_t seen = wakes_.load(std::memory_order_acquire);
    if (stop_) return;
    if (!engine_.step()) wakes_.wait(seen, std::memory_order_acquire);
  }
}

}  // namespace quire
