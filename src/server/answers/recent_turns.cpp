#include "server/answers/recent_turns.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "server/answers/prompts.h"
#include "server/api_error.h"

namespace quire {
namespace {

bool has_role(const json::value& message, std::string_view role) {
  return std::string_view(message.at("role").get_string()) == role;
}

// Where the turns begin; the first is what follows the system messages, whatever that is.
std::vector<size_t> turns_of(const json::array& messages) {
  size_t first = 0;
  while (first < messages.size() && has_role(messages[first], "system")) ++first;
  std::vector<size_t> turns = {first};
  for (size_t i = first + 1; i < messages.size(); ++i) {
    if (has_role(messages[i], "user")) turns.push_back(i);
  }
  return turns;
}

// The request with the turns from `turn` on.
ApiRequest without_older(const ApiRequest& request, const std::vector<size_t>& turns, size_t turn) {
  ApiRequest shorter = request;
  shorter.messages.clear();
  for (size_t i = 0; i < turns.front(); ++i) shorter.messages.push_back(request.messages[i]);
  for (size_t i = turns[turn]; i < request.messages.size(); ++i) shorter.messages.push_back(request.messages[i]);
  return shorter;
}

bool is_too_long(const ApiError& error) { return error.code() == "context_length_exceeded"; }

}  // namespace

Prompt conversation_prompt(const ServedModel& model, const ApiRequest& request) {
  const std::vector<size_t> turns = turns_of(request.messages);
  if (!request.drops_old_turns || turns.size() == 1) return {.ids = chat_prompt(model, request, /*must_fit=*/true)};
  const int64_t context_length = model.engine->max_sequence_tokens();
  const int64_t most = std::min(request.max_context.value_or(context_length), context_length);
  const int64_t num_answer = std::max<int64_t>(request.max_tokens.value_or(1), 1);
  std::vector<int32_t> prompt;
  const auto fits_from = [&](size_t turn) {
    try {
      prompt = chat_prompt(model, without_older(request, turns, turn), /*must_fit=*/true);
    } catch (const ApiError& error) {
      if (!is_too_long(error)) throw;
      return false;
    }
    return static_cast<int64_t>(prompt.size()) + num_answer <= most;
  };
  if (fits_from(0)) return {.ids = std::move(prompt)};
  size_t too_many = 0;               // from this turn on it is too long
  size_t enough = turns.size() - 1;  // from this one on it fits, or nothing does
  while (too_many + 1 < enough) {
    const size_t middle = (too_many + enough) / 2;
    (fits_from(middle) ? enough : too_many) = middle;
  }
  return {.ids = chat_prompt(model, without_older(request, turns, enough), /*must_fit=*/true), .is_shortened = true};
}

}  // namespace quire
