#include "engine/engine_thread.h"

namespace quire {

EngineThread::EngineThread(Engine& engine) : engine_(engine), thread_([this] { work(); }) {}

EngineThread::~EngineThread() {
  stop_ = true;
  engine_.wake();
  thread_.join();
}

void EngineThread::work() {
  while (true) {
    // Read before the work is looked for: a request that arrives after that look changes it.
    const uint32_t seen = engine_.num_wakes();
    if (stop_) return;
    if (!engine_.step()) engine_.wait_for_wake(seen);
  }
}

}  // namespace quire
