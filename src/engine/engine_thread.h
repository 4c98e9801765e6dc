// A thread that steps an engine and sleeps while there is nothing to do.
//
// Create it after the engine and destroy it before the engine. The destructor waits for the step that is running; the
// requests stay in the engine.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "engine/engine.h"

namespace quire {

class EngineThread {
 public:
  // `on_stopped` is called on the thread, at most once, when the engine cannot go on (Engine::recover), with the
  // reason.
  explicit EngineThread(Engine& engine, std::function<void(const std::string& reason)> on_stopped = {});
  ~EngineThread();
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

 private:
  void work();
  bool step();

  Engine& engine_;
  const std::function<void(const std::string& reason)> on_stopped_;
  bool is_stopped_ = false;  // whether the engine has stopped; used by the thread only
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace quire
