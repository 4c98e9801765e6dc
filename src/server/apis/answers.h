// The writers of all APIs that generate: one row each. A new API is its folder and a row here.
#pragma once

#include <memory>

#include "server/apis/answer_writer.h"

namespace quire {

std::shared_ptr<AnswerWriter> make_chat_answer(const AnswerSetup& setup);         // openai_chat/
std::shared_ptr<AnswerWriter> make_completions_answer(const AnswerSetup& setup);  // openai_completions/
std::shared_ptr<AnswerWriter> make_messages_answer(const AnswerSetup& setup);     // anthropic_messages/

}  // namespace quire
