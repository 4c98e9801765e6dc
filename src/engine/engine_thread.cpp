#include "engine/engine_thread.h"

#include <chrono>
#include <exception>
#include <thread>
#include <utility>

#include "base/log.h"

namespace quire {
namespace {

constexpr std::chrono::microseconds kFetchPause(100);

}  // namespace

EngineThread::EngineThread(Engine& engine, std::function<void(const std::string& reason)> on_stopped)
    : engine_(engine), on_stopped_(std::move(on_stopped)), thread_([this] { work(); }) {}

EngineThread::~EngineThread() {
  stop_ = true;
  engine_.wake();
  thread_.join();
}

void EngineThread::work() {
  while (!is_stopped_) {
    // Read before step() looks for work: a request that arrives after that changes the count, so the wait ends.
    const uint32_t seen = engine_.num_wakes();
    if (stop_) return;
    if (step()) continue;
    if (engine_.is_fetching()) {  // until a deadline at most
      std::this_thread::sleep_for(kFetchPause);
    } else {
      engine_.wait_for_wake(seen);
    }
  }
}

// False when there was nothing to do.
bool EngineThread::step() {
  try {
    return engine_.step();
  } catch (const std::exception& error) {
    log::warning("a step failed, and the requests in it with it: {}", error.what());
    is_stopped_ = !engine_.recover();
    if (is_stopped_ && on_stopped_) on_stopped_(error.what());
    return true;
  }
}

}  // namespace quire
