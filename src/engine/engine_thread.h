// Steps an engine on a thread of its own, asleep while there is nothing to do.
//
// Created after the engine and destroyed before it. Destruction finishes the step that is running and leaves the rest.
#pragma once

#include <atomic>
#include <thread>

#include "engine/engine.h"

namespace quire {

class EngineThread {
 public:
  explicit EngineThread(Engine& engine);
  ~EngineThread();
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

 private:
  void work();

  Engine& engine_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace quire
