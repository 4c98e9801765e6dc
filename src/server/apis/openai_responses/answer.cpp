#include "server/apis/openai_responses/answer.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "server/apis/error_form.h"
#include "server/apis/json_text.h"
#include "server/apis/openai/wire.h"
#include "server/apis/stream_output.h"
#include "server/schema/prompt_fields.h"

namespace quire {
namespace {

enum class ItemKind : uint8_t { kNone, kReasoning, kMessage, kCall };

// Members that stay the same from the first event to the last, each with a comma before it.
std::string fixed_members(const ApiRequest& request) {
  json::object members{{"background", false},
                       {"instructions", nullptr},
                       {"max_output_tokens", nullptr},
                       {"max_tool_calls", nullptr},
                       {"metadata", json::object()},
                       {"parallel_tool_calls", request.parallel_tool_calls},
                       {"previous_response_id", nullptr},
                       {"reasoning", {{"effort", nullptr}, {"summary", nullptr}}},
                       {"service_tier", "default"},
                       {"store", request.store},
                       {"temperature", nullptr},
                       {"text", {{"format", {{"type", "text"}}}}},
                       {"tool_choice", "auto"},
                       {"tools", json::array()},
                       {"top_logprobs", request.top_logprobs.value_or(0)},
                       {"top_p", nullptr},
                       {"truncation", "disabled"}};
  for (const auto& [key, value] : request.echoed) members[key] = value;
  std::string out;
  for (const auto& [key, value] : members) {
    out += ',' + json_string(key) + ':';
    if (key == "temperature") {
      append_json_number(out, request.sampling.temperature);
    } else if (key == "top_p") {
      append_json_number(out, request.sampling.top_p);
    } else {
      out += json::serialize(value);
    }
  }
  return out;
}

std::string usage_json(const UsageCounts& usage) {
  return fmt::format(
      "{{\"input_tokens\":{},\"input_tokens_details\":{{\"cached_tokens\":{},\"cache_write_tokens\":0}},"
      "\"output_tokens\":{},\"output_tokens_details\":{{\"reasoning_tokens\":{}}},\"total_tokens\":{}}}",
      usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, usage.reasoning_tokens,
      usage.prompt_tokens + usage.completion_tokens);
}

// A piece of the answer's output that is being written.
struct Item {
  ItemKind kind = ItemKind::kNone;
  std::string id = {};
  std::string call_id = {};
  std::string name = {};
  std::string text = {};      // of the message or the reasoning, or the arguments
  std::string logprobs = {};  // of the message: elements of a JSON list

  // The only part of a message or of reasoning.
  std::string part(bool is_empty) const {
    const std::string shown = is_empty ? "\"\"" : json_string(text);
    if (kind == ItemKind::kReasoning) return "{\"type\":\"reasoning_text\",\"text\":" + shown + '}';
    return "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[" + (is_empty ? "" : logprobs) +
           "],\"text\":" + shown + '}';
  }

  std::string json(const char* status) const {
    const bool is_new = std::string_view(status) == "in_progress";
    std::string out = "{\"id\":" + json_string(id);
    if (kind == ItemKind::kCall) {
      out += ",\"type\":\"function_call\",\"call_id\":" + json_string(call_id) + ",\"name\":" + json_string(name) +
             ",\"arguments\":" + (is_new ? "\"\"" : json_string(text));
    } else {
      out += kind == ItemKind::kReasoning ? ",\"type\":\"reasoning\",\"summary\":[]"
                                          : ",\"type\":\"message\",\"role\":\"assistant\"";
      out += ",\"content\":[" + (is_new ? "" : part(/*is_empty=*/false)) + ']';
    }
    return out + ",\"status\":\"" + status + "\"}";
  }
};

class ResponsesAnswer : public AnswerWriter {
 public:
  ResponsesAnswer(const AnswerSetup& setup, KeepResponse keep)
      : exchange_(setup.exchange),
        names_{.tokenizer = setup.tokenizer},
        key_(setup.head.request_id),
        head_("{\"id\":" + json_string(id()) + ",\"object\":\"response\",\"created_at\":" +
              std::to_string(setup.head.created) + ",\"model\":" + json_string(setup.head.model)),
        fixed_(fixed_members(setup.request) + (setup.head.is_truncated ? ",\"truncated\":true" : "")),
        has_logprobs_(setup.request.logprobs),
        keep_(std::move(keep)) {
    if (setup.request.stream) stream_ = StreamOutput::begin(setup.exchange, kEventStream, setup.buffer_bytes);
  }

  void begin(ChoiceRange, std::span<const int32_t>, std::span<const SampledToken>) override {
    emit("response.created", ",\"response\":" + response("in_progress"));
    emit("response.in_progress", ",\"response\":" + response("in_progress"));
  }
  void usage(const UsageCounts& usage) override { usage_ = usage; }
  void timings(const AnswerTimings&) override {}

  void text(int, TextPiece piece) override { add(ItemKind::kMessage, std::move(piece)); }
  void reasoning(int, TextPiece piece) override { add(ItemKind::kReasoning, std::move(piece)); }

  void tool_call(int, const ToolCallPiece& piece, std::vector<PieceToken>) override {
    if (!piece.name.empty()) {
      open({.kind = ItemKind::kCall, .call_id = piece.id, .name = piece.name});
    }
    if (item_.kind != ItemKind::kCall || piece.arguments.empty()) return;
    item_.text += piece.arguments;
    emit_item("response.function_call_arguments.delta", [&] { return ",\"delta\":" + json_string(piece.arguments); });
  }

  void end(int, TextPiece rest, const ChoiceEnd& end, bool) override {
    if (item_.kind == ItemKind::kMessage && !rest.tokens.empty()) add(ItemKind::kMessage, std::move(rest));
    is_cut_ = end.reason == FinishReason::kLength;
    close(is_cut_ ? "incomplete" : "completed");
  }

  void flush() override {
    if (stream_ != nullptr) stream_->flush();
  }
  bool has_room() const override { return stream_ == nullptr || stream_->has_room(); }

  void done() override {
    const std::string final = response(is_cut_ ? "incomplete" : "completed");
    if (keep_) keep_(id(), final, message_);
    if (stream_ == nullptr) return exchange_->reply({.body = final});
    emit(is_cut_ ? "response.incomplete" : "response.completed", ",\"response\":" + final);
    stream_->end();
  }

  void fail(const ApiError& error) override {
    if (stream_ == nullptr) return exchange_->reply(error_response(error, kOpenAiErrors));
    close("incomplete");
    error_ = std::string("{\"code\":\"server_error\",\"message\":") + json_string(error.what()) + '}';
    emit("response.failed", ",\"response\":" + response("failed"));
    stream_->end();
  }

 private:
  std::string id() const { return "resp_" + key_; }
  std::string new_id(std::string_view kind) const { return fmt::format("{}_{}_{}", kind, key_, num_items_); }

  std::string response(std::string_view status) const {
    std::string out = head_;
    out += fmt::format(",\"status\":\"{}\",\"error\":{},\"incomplete_details\":{},\"output\":[{}]", status, error_,
                       is_cut_ ? "{\"reason\":\"max_output_tokens\"}" : "null", output_);
    if (status == "completed") {
      const auto now = std::chrono::system_clock::now().time_since_epoch();
      out += fmt::format(",\"completed_at\":{}", std::chrono::duration_cast<std::chrono::seconds>(now).count());
    }
    out += fixed_;
    if (status != "in_progress") out += ",\"usage\":" + usage_json(usage_);
    return out + '}';
  }

  void emit(std::string_view type, const std::string& members) {
    if (stream_ == nullptr) return;
    stream_->event(type, fmt::format("{{\"type\":\"{}\",\"sequence_number\":{}{}}}", type, sequence_++, members));
  }
  // An event about the item that is being written; `members` makes the rest.
  template <typename Members>
  void emit_item(std::string_view type, const Members& members) {
    if (stream_ == nullptr) return;
    emit(type, fmt::format(",\"item_id\":{},\"output_index\":{}{}{}", json_string(item_.id), num_items_,
                           item_.kind == ItemKind::kCall ? "" : ",\"content_index\":0", members()));
  }

  void add(ItemKind kind, TextPiece piece) {
    if (piece.text.empty() && item_.kind != kind) return;
    if (item_.kind != kind) {
      open({.kind = kind});
      emit_item("response.content_part.added", [&] { return ",\"part\":" + item_.part(/*is_empty=*/true); });
    }
    item_.text += piece.text;
    if (kind == ItemKind::kReasoning) {
      emit_item("response.reasoning_text.delta", [&] { return ",\"delta\":" + json_string(piece.text); });
      return;
    }
    std::string logprobs;  // elements of a list
    if (has_logprobs_) {
      append_token_logprobs(logprobs, names_, piece.tokens);
      logprobs = logprobs.substr(1, logprobs.size() - 2);
    }
    if (!logprobs.empty()) item_.logprobs += (item_.logprobs.empty() ? "" : ",") + logprobs;
    emit_item("response.output_text.delta",
              [&] { return ",\"delta\":" + json_string(piece.text) + ",\"logprobs\":[" + logprobs + ']'; });
  }

  void open(Item item) {
    close("completed");
    item_ = std::move(item);
    item_.id = new_id(item_.kind == ItemKind::kCall ? "fc" : item_.kind == ItemKind::kMessage ? "msg" : "rs");
    emit("response.output_item.added",
         fmt::format(",\"output_index\":{},\"item\":{}", num_items_, item_.json("in_progress")));
  }

  void close(const char* status) {
    if (item_.kind == ItemKind::kNone) return;
    emit_ends();
    const std::string item = item_.json(status);
    emit("response.output_item.done", fmt::format(",\"output_index\":{},\"item\":{}", num_items_, item));
    if (!output_.empty()) output_ += ',';
    output_ += item;
    add_to_message();
    ++num_items_;
    item_ = {};
  }

  void emit_ends() {
    if (item_.kind == ItemKind::kCall) {
      return emit_item("response.function_call_arguments.done", [&] {
        return ",\"name\":" + json_string(item_.name) + ",\"arguments\":" + json_string(item_.text);
      });
    }
    const bool is_message = item_.kind == ItemKind::kMessage;
    emit_item(is_message ? "response.output_text.done" : "response.reasoning_text.done", [&] {
      return ",\"text\":" + json_string(item_.text) +
             (is_message ? ",\"logprobs\":[" + item_.logprobs + ']' : std::string());
    });
    emit_item("response.content_part.done", [&] { return ",\"part\":" + item_.part(/*is_empty=*/false); });
  }

  // The same as a message of chat, for a conversation that goes on from here.
  void add_to_message() {
    if (!keep_) return;
    const auto append = [&](std::string_view key) {
      json::value& text = message_[key];
      if (!text.is_string()) text = "";
      text.get_string() += item_.text;
    };
    if (item_.kind == ItemKind::kReasoning) append("reasoning_content");
    if (item_.kind == ItemKind::kMessage) append("content");
    if (item_.kind != ItemKind::kCall) return;
    json::value& calls = message_["tool_calls"];
    if (!calls.is_array()) calls = json::array();
    calls.get_array().push_back(json::object{
        {"id", item_.call_id}, {"type", "function"}, {"function", {{"name", item_.name}, {"arguments", item_.text}}}});
  }

  const ExchangePtr exchange_;
  const TokenNames names_;
  const std::string key_;    // part of all ids
  const std::string head_;   // of the response
  const std::string fixed_;  // further members of it
  const bool has_logprobs_;
  const KeepResponse keep_;
  std::shared_ptr<StreamOutput> stream_;  // null: a whole answer
  UsageCounts usage_;
  Item item_;           // being written
  int num_items_ = 0;   // that are complete
  std::string output_;  // these as JSON, with commas between them
  json::object message_{{"role", "assistant"}, {"content", nullptr}};
  std::string error_ = "null";
  bool is_cut_ = false;
  int64_t sequence_ = 0;  // of the next event
};

}  // namespace

std::shared_ptr<AnswerWriter> make_responses_answer(const AnswerSetup& setup, KeepResponse keep) {
  return std::make_shared<ResponsesAnswer>(setup, std::move(keep));
}

}  // namespace quire
