// Steps an engine on a thread of its own, asleep while there is nothing to do.
//
// Created after the engine and destroyed before it. Destruction finishes the step that is running and leaves the rest.
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
  bool is_stopped_ = false;  // the engine; on the thread only
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace quire
