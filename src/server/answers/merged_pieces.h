// Fewer, longer pieces of an answer's text, for streams whose chunks cost more than they are worth.
#pragma once

#include <memory>

#include "server/apis/answer_writer.h"

namespace quire {

// Gives the first piece of each choice to `to` at once, then as many as `interval` together.
std::shared_ptr<AnswerWriter> merge_pieces(std::shared_ptr<AnswerWriter> to, int num_choices, int interval);

}  // namespace quire
