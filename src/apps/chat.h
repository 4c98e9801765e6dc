// The conversation on a terminal: `quire run MODEL` without a prompt.
#pragma once

#include <memory>
#include <string>

#include "apps/generation.h"
#include "apps/options.h"
#include "dialogue/text_processor.h"
#include "engine/engine.h"

namespace quire {

struct ChatSettings {
  SamplingParams sampling;
  int64_t max_tokens = -1;
  bool ignore_eos = false;
  bool raw = false;  // continue plain text instead of rendering the chat template
  bool show_stats = false;
  std::string system;
  std::vector<std::string> stops;
  std::shared_ptr<const ConstraintSource> constraint;  // of every answer; null: none
};

// The prompt of one request in these settings.
GenerationInput make_input(const TextProcessor& text, const ChatSettings& settings, std::vector<int32_t> prompt);
// Messages of a new conversation: the system message, if there is one.
json::array first_messages(const ChatSettings& settings);

// Reads lines until /bye or the end of input. Ctrl-C stops the answer, not the program.
void chat(Engine& engine, const TextProcessor& text, ChatSettings settings);

}  // namespace quire
