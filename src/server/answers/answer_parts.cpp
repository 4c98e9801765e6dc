#include "server/answers/answer_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "dialogue/reasoning.h"
#include "dialogue/tool_formats/call_reader.h"
#include "dialogue/tool_formats/tool_format.h"
#include "server/answers/tool_choice.h"

namespace quire {
namespace {

// Enough for the mark that opens reasoning and the line break behind it.
constexpr size_t kPromptEndTokens = 16;

uint64_t hash(std::string_view text, uint64_t seed) {  // FNV-1a
  uint64_t hash = 0xcbf29ce484222325 ^ seed;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash ^ (hash >> 29);
}

std::string letters(uint64_t number, int count) {
  constexpr std::string_view kLetters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  std::string out;
  for (int i = 0; i < count; ++i) {
    out += kLetters[number % kLetters.size()];
    number /= kLetters.size();
  }
  return out;
}

std::unique_ptr<OutputParser> make_parser(const TextProcessor& text, const ApiRequest& request,
                                          std::span<const int32_t> prompt) {
  std::unique_ptr<OutputParser> parser =
      may_call(request) ? call_format(text, request).make_parser(request.tools) : make_plain_parser();
  const ReasoningFormat* const reasoning = text.reasoning_format();
  if (reasoning == nullptr) return parser;
  const bool is_open = answer_start(text, prompt) == AnswerStart::kReasoning;
  return make_reasoning_parser(*reasoning, is_open, std::move(parser));
}

}  // namespace

AnswerStart answer_start(const TextProcessor& text, std::span<const int32_t> prompt) {
  const ReasoningFormat* const format = text.reasoning_format();
  if (format == nullptr) return AnswerStart::kContent;
  const std::string end = text.tokenizer().decode(prompt.last(std::min(prompt.size(), kPromptEndTokens)),
                                                  /*skip_special_tokens=*/false);
  if (opens_reasoning(*format, end)) return AnswerStart::kReasoning;
  return trimmed(end).ends_with(format->end) ? AnswerStart::kContent : AnswerStart::kEither;
}

bool reads_parts(const TextProcessor& text, const ApiRequest& request) {
  return may_call(request) || text.reasoning_format() != nullptr;
}

AnswerParts::AnswerParts(const TextProcessor& text, const ApiRequest& request, std::span<const int32_t> prompt,
                         std::string salt, int choice)
    : request_(request),
      ids_(call_format(text, request).ids),
      // A client may send the same id twice.
      salt_(fmt::format("{} {}", salt, std::chrono::steady_clock::now().time_since_epoch().count())),
      choice_(choice),
      parser_(make_parser(text, request, prompt)) {}

void AnswerParts::push(TextPiece piece) {
  const bool was_reasoning = parser_->is_reasoning();
  std::move(piece.tokens.begin(), piece.tokens.end(), std::back_inserter(tokens_));
  if (!piece.text.empty()) parser_->push(piece.text, parts_);
  // Marks go with the reasoning that they are of.
  if (!request_.include_reasoning && (was_reasoning || parser_->is_reasoning())) tokens_.clear();
}

void AnswerParts::write(AnswerWriter& writer) {
  for (AnswerPart& part : std::exchange(parts_, {})) write(writer, std::move(part));
}

TextPiece AnswerParts::finish(AnswerWriter& writer) {
  parser_->finish(parts_);
  write(writer);
  return {.text = {}, .tokens = std::exchange(tokens_, {})};
}

// An event gets all tokens whose text was read before it was told, so that each token is told once and in order.
void AnswerParts::write(AnswerWriter& writer, AnswerPart part) {
  switch (part.kind) {
    case AnswerPartKind::kContent:
      return writer.text(choice_, {.text = std::move(part.text), .tokens = std::exchange(tokens_, {})});
    case AnswerPartKind::kReasoning: {
      std::vector<PieceToken> tokens = std::exchange(tokens_, {});
      if (!request_.include_reasoning) return;
      return writer.reasoning(choice_, {.text = std::move(part.text), .tokens = std::move(tokens)});
    }
    case AnswerPartKind::kToolCall: {
      is_left_out_ = !request_.parallel_tool_calls && num_calls_ > 0;
      if (is_left_out_) return;
      const ToolCallPiece piece{.index = num_calls_, .id = call_id(part.text), .name = std::move(part.text)};
      ++num_calls_;
      return writer.tool_call(choice_, piece, std::exchange(tokens_, {}));
    }
    case AnswerPartKind::kArguments:
      if (is_left_out_) return;
      return writer.tool_call(choice_, {.index = num_calls_ - 1, .arguments = std::move(part.text)},
                              std::exchange(tokens_, {}));
  }
}

std::string AnswerParts::call_id(std::string_view name) const {
  if (ids_ == CallIds::kNamed) return fmt::format("functions.{}:{}", name, num_calls_);
  const std::string of = fmt::format("{} {} {}", salt_, choice_, num_calls_);
  if (ids_ == CallIds::kNine) return letters(hash(of, 0), 9);
  return "call_" + letters(hash(of, 0), 10) + letters(hash(of, 1), 10) + letters(hash(of, 2), 4);
}

}  // namespace quire
