// An engine's own numbers as metrics, under vLLM's names and Quire's. Any thread.
#pragma once

#include "engine/engine_status.h"
#include "server/metrics/metrics_text.h"

namespace quire {

void write_engine_metrics(MetricsText& text, const EngineStatus& engine);

}  // namespace quire
