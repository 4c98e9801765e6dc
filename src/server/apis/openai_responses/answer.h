// The answer of /v1/responses.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/json.h"
#include "server/apis/answer_writer.h"

namespace quire {

// A response that is complete: its id, its JSON, and its output as a message of chat.
using KeepResponse =
    std::function<void(const std::string& id, const std::string& response, const json::object& message)>;

// `keep` is called before the client learns of the end, unless it is empty.
std::shared_ptr<AnswerWriter> make_responses_answer(const AnswerSetup& setup, KeepResponse keep = {});

}  // namespace quire
