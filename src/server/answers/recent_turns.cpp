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

// Where a conversation may begin: at a turn, or, where only the last turn is left, at one of the assistant's messages
// in it, behind the user's message that began it. So calls of tools stay together with their results.
struct Beginnings {
  std::vector<size_t> at;
  size_t last_turn = 0;
};

// The first is what follows the system messages, whatever that is.
Beginnings beginnings_of(const json::array& messages) {
  size_t first = 0;
  while (first < messages.size() && has_role(messages[first], "system")) ++first;
  Beginnings found{.at = {first}, .last_turn = first};
  for (size_t i = first + 1; i < messages.size(); ++i) {
    if (has_role(messages[i], "user")) found.at.push_back(found.last_turn = i);
  }
  for (size_t i = found.last_turn + 2; i < messages.size(); ++i) {
    if (has_role(messages[i], "assistant")) found.at.push_back(i);
  }
  return found;
}

json::array without_older(const json::array& messages, const Beginnings& beginnings, size_t beginning) {
  const size_t from = beginnings.at[beginning];
  json::array kept(messages.begin(), messages.begin() + static_cast<std::ptrdiff_t>(beginnings.at.front()));
  if (from > beginnings.last_turn) kept.push_back(messages[beginnings.last_turn]);
  kept.insert(kept.end(), messages.begin() + static_cast<std::ptrdiff_t>(from), messages.end());
  return kept;
}

bool is_too_long(const ApiError& error) { return error.code() == "context_length_exceeded"; }

}  // namespace

Prompt conversation_prompt(const ServedModel& model, const ApiRequest& request) {
  const Beginnings beginnings = beginnings_of(request.messages);
  if (!request.drops_old_turns || beginnings.at.size() == 1) {
    return {.ids = chat_prompt(model, request, /*must_fit=*/true)};
  }
  const int64_t context_length = model.engine->max_sequence_tokens();
  const int64_t num_answer = std::max<int64_t>(request.max_tokens.value_or(1), 1);
  // A smaller context that the request names is for the prompt, as a server with that context would cut it.
  const int64_t most = std::min(request.max_context.value_or(context_length) - 1, context_length - num_answer);
  ApiRequest shorter = request;
  std::vector<int32_t> prompt;
  const auto fits_from = [&](size_t beginning) {
    shorter.messages = without_older(request.messages, beginnings, beginning);
    try {
      std::vector<int32_t> ids = chat_prompt(model, shorter, /*must_fit=*/true);
      if (static_cast<int64_t>(ids.size()) > most) return false;
      prompt = std::move(ids);
    } catch (const ApiError& error) {
      if (!is_too_long(error)) throw;
      return false;
    }
    return true;
  };
  if (fits_from(0)) return {.ids = std::move(prompt)};
  size_t too_many = 0;                       // from here on it is too long
  size_t enough = beginnings.at.size() - 1;  // from here on it fits, or nothing does
  while (too_many + 1 < enough) {
    const size_t middle = (too_many + enough) / 2;
    (fits_from(middle) ? enough : too_many) = middle;
  }
  if (prompt.empty()) {  // only the last beginning is left, which was not tried
    shorter.messages = without_older(request.messages, beginnings, enough);
    prompt = chat_prompt(model, shorter, /*must_fit=*/true);
  }
  return {.ids = std::move(prompt), .is_shortened = true};
}

}  // namespace quire
