// The answer of /v1/messages: blocks of thinking, text and tool_use, whole or as named events.
#include <fmt/format.h>

#include <utility>

#include "base/error.h"
#include "server/apis/answers.h"
#include "server/apis/error_form.h"
#include "server/apis/json_text.h"
#include "server/apis/stream_output.h"

namespace quire {
namespace {

constexpr StreamKind kNamedEvents{.content_type = kEventStream.content_type,
                                  .ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n"};

enum class BlockKind : uint8_t { kNone, kThinking, kText, kToolUse };

// Cached tokens of the prompt are counted apart from its others.
std::string usage_json(const UsageCounts& usage) {
  return fmt::format(
      "{{\"input_tokens\":{},\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":{},\"output_tokens\":{}}}",
      usage.prompt_tokens - usage.cached_tokens, usage.cached_tokens, usage.completion_tokens);
}

// The arguments of a call that was cut may be no JSON; clients expect an object.
std::string_view object_or_empty(std::string_view arguments) {
  try {
    return parse_json(arguments, "arguments").is_object() ? arguments : "{}";
  } catch (const Error&) {
    return "{}";
  }
}

class MessagesAnswer : public AnswerWriter {
 public:
  explicit MessagesAnswer(const AnswerSetup& setup)
      : exchange_(setup.exchange),
        head_("{\"id\":" + json_string("msg_" + setup.head.request_id) +
              ",\"type\":\"message\",\"role\":\"assistant\",\"model\":" + json_string(setup.head.model)),
        shows_thinking_(setup.request.include_reasoning),
        max_tokens_(setup.request.max_tokens.value_or(-1)) {
    if (setup.request.stream) stream_ = StreamOutput::begin(setup.exchange, kNamedEvents, setup.buffer_bytes);
  }

  void begin(ChoiceRange, std::span<const int32_t>, std::span<const SampledToken>) override {}
  void usage(const UsageCounts& usage) override { usage_ = usage; }
  void timings(const AnswerTimings&) override {}

  void text(int, TextPiece piece) override { add(BlockKind::kText, piece.text); }
  void reasoning(int, TextPiece piece) override {
    if (shows_thinking_) add(BlockKind::kThinking, piece.text);
  }
  void tool_call(int, const ToolCallPiece& piece, std::vector<PieceToken>) override {
    if (!piece.name.empty()) open(BlockKind::kToolUse, &piece);
    if (kind_ == BlockKind::kToolUse) delta(piece.arguments);
  }

  void end(int, TextPiece, const ChoiceEnd& end, bool) override {
    close();
    std::string stop = "\"stop_reason\":\"";
    stop += stop_reason(end);
    stop += "\",\"stop_sequence\":" + (end.stop_string ? json_string(*end.stop_string) : "null");
    if (stream_ == nullptr) {
      stop_ = std::move(stop);
      return;
    }
    start();
    stream_->event("message_delta", fmt::format("{{\"type\":\"message_delta\",\"delta\":{{{}}},\"usage\":{}}}", stop,
                                                usage_json(usage_)));
  }

  void flush() override {
    if (stream_ != nullptr) stream_->flush();
  }
  bool has_room() const override { return stream_ == nullptr || stream_->has_room(); }

  void done() override {
    if (stream_ == nullptr) {
      exchange_->reply(
          {.body = head_ + ",\"content\":[" + blocks_ + "]," + stop_ + ",\"usage\":" + usage_json(usage_) + '}'});
      return;
    }
    stream_->event("message_stop", "{\"type\":\"message_stop\"}");
    stream_->end();
  }

  void fail(const ApiError& error) override {
    if (stream_ == nullptr) return exchange_->reply(error_response(error, kAnthropicErrors));
    stream_->pending() += kAnthropicErrors.stream_end(error);
    stream_->end();
  }

 private:
  const char* stop_reason(const ChoiceEnd& end) const {
    if (end.has_tool_calls) return "tool_use";
    if (end.stop_string) return "stop_sequence";
    if (end.reason != FinishReason::kLength) return "end_turn";
    return usage_.completion_tokens < max_tokens_ ? "model_context_window_exceeded" : "max_tokens";
  }

  // Not before the first token: only then it is known how much of the prompt was cached.
  void start() {
    if (std::exchange(is_started_, true)) return;
    stream_->event("message_start", "{\"type\":\"message_start\",\"message\":" + head_ +
                                        ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":" +
                                        usage_json(usage_) + "}}");
    stream_->pending() += kNamedEvents.ping;
  }

  void add(BlockKind kind, std::string_view text) {
    if (text.empty()) return;
    if (kind_ != kind) open(kind, nullptr);
    delta(text);
  }

  void open(BlockKind kind, const ToolCallPiece* call) {
    close();
    kind_ = kind;
    if (kind == BlockKind::kThinking) {
      block_ = "{\"type\":\"thinking\",\"signature\":\"\",\"thinking\":";
    } else if (kind == BlockKind::kText) {
      block_ = "{\"type\":\"text\",\"text\":";
    } else {
      block_ = "{\"type\":\"tool_use\",\"id\":" + json_string(call->id) + ",\"name\":" + json_string(call->name) +
               ",\"input\":";
    }
    if (stream_ == nullptr) return;
    start();
    stream_->event("content_block_start",
                   fmt::format("{{\"type\":\"content_block_start\",\"index\":{},\"content_block\":{}{}}}}}", index_,
                               block_, kind == BlockKind::kToolUse ? "{}" : "\"\""));
  }

  void delta(std::string_view text) {
    if (text.empty()) return;
    if (stream_ == nullptr) {
      text_ += text;
      return;
    }
    const char* const form = kind_ == BlockKind::kThinking ? "\"thinking_delta\",\"thinking\""
                             : kind_ == BlockKind::kText   ? "\"text_delta\",\"text\""
                                                           : "\"input_json_delta\",\"partial_json\"";
    stream_->event("content_block_delta",
                   fmt::format("{{\"type\":\"content_block_delta\",\"index\":{},\"delta\":{{\"type\":{}:{}}}}}", index_,
                               form, json_string(text)));
  }

  void close() {
    const BlockKind kind = std::exchange(kind_, BlockKind::kNone);
    if (kind == BlockKind::kNone) return;
    if (stream_ == nullptr) {
      if (!blocks_.empty()) blocks_ += ',';
      blocks_ += block_;
      blocks_ += kind == BlockKind::kToolUse ? std::string(object_or_empty(text_)) : json_string(text_);
      blocks_ += '}';
      text_.clear();
    } else {
      stream_->event("content_block_stop", fmt::format("{{\"type\":\"content_block_stop\",\"index\":{}}}", index_));
    }
    ++index_;
  }

  const ExchangePtr exchange_;
  const std::string head_;  // of the message, without its content
  const bool shows_thinking_;
  const int64_t max_tokens_;
  std::shared_ptr<StreamOutput> stream_;  // null: a whole answer
  UsageCounts usage_;
  bool is_started_ = false;
  BlockKind kind_ = BlockKind::kNone;
  int index_ = 0;       // of the block
  std::string block_;   // its beginning
  std::string text_;    // of the block, where the answer is whole
  std::string blocks_;  // the same: those that are complete
  std::string stop_;    // the same: members about the end
};

}  // namespace

std::shared_ptr<AnswerWriter> make_messages_answer(const AnswerSetup& setup) {
  return std::make_shared<MessagesAnswer>(setup);
}

}  // namespace quire
