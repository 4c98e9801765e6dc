#include "server/apis/ollama/answer.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "server/apis/answers.h"
#include "server/apis/error_form.h"
#include "server/apis/json_text.h"
#include "server/apis/stream_output.h"

namespace quire {
namespace {

int64_t nanoseconds(double ms) { return static_cast<int64_t>(ms * 1e6); }

// The members that every object of an answer begins with.
std::string head_of(std::string_view model, int64_t created) {
  return "{\"model\":" + json_string(model) + ",\"created_at\":\"" + utc_time(created) + '"';
}

// A model's call of a tool, whose arguments come in pieces: clients want them as one object.
struct Call {
  std::string name;
  std::string arguments;
};

// Text of an answer that has not been written yet; of a whole answer all of it.
struct Part {
  std::string text;
  std::string thinking;
  std::vector<Call> calls;

  bool empty() const { return text.empty() && thinking.empty() && calls.empty(); }
};

void append_member(std::string& out, std::string_view name, std::string_view text) {
  out += ',';
  append_json_string(out, name);
  out += ':';
  append_json_string(out, text);
}

// The arguments are an object, or they become text: a call whose text was cut off cannot be made.
void append_calls(std::string& out, const std::vector<Call>& calls) {
  json::array list;
  for (const Call& call : calls) {
    json::object function{{"name", call.name}, {"arguments", parse_json(call.arguments, "arguments")}};
    list.push_back(json::object{{"function", std::move(function)}});
  }
  if (!list.empty()) out += ",\"tool_calls\":" + json::serialize(list);
}

bool is_object(const std::string& text) {
  try {
    return parse_json(text, "arguments").is_object();
  } catch (const Error&) {
    return false;
  }
}

using AppendPart = void (*)(std::string& out, const Part& part);

void append_chat(std::string& out, const Part& part) {
  out += ",\"message\":{\"role\":\"assistant\"";
  append_member(out, "content", part.text);
  if (!part.thinking.empty()) append_member(out, "thinking", part.thinking);
  append_calls(out, part.calls);
  out += '}';
}

void append_generate(std::string& out, const Part& part) {
  append_member(out, "response", part.text);
  if (!part.thinking.empty()) append_member(out, "thinking", part.thinking);
}

// One choice, streamed as lines or whole.
class OllamaAnswer : public AnswerWriter {
 public:
  OllamaAnswer(const AnswerSetup& setup, AppendPart append)
      : exchange_(setup.exchange),
        output_(setup.request.stream ? StreamOutput::begin(setup.exchange, kJsonLines, setup.buffer_bytes) : nullptr),
        append_(append),
        head_(head_of(setup.head.model, setup.head.created)) {}

  void begin(ChoiceRange, std::span<const int32_t>, std::span<const SampledToken>) override {}

  void text(int, TextPiece piece) override {
    close_call();
    part_.text += piece.text;
    write_line();
  }
  void reasoning(int, TextPiece piece) override {
    part_.thinking += piece.text;
    write_line();
  }
  void tool_call(int, const ToolCallPiece& piece, std::vector<PieceToken>) override {
    if (piece.index != call_index_) {
      close_call();
      call_index_ = piece.index;
      call_.name = piece.name;
    }
    call_.arguments += piece.arguments;
  }
  void end(int, TextPiece rest, const ChoiceEnd& end, bool) override {
    close_call();
    part_.text += rest.text;
    write_line();
    is_cut_ = end.reason == FinishReason::kLength;
  }
  void usage(const UsageCounts& usage) override { usage_ = usage; }
  void timings(const AnswerTimings& timings) override { timings_ = timings; }
  void flush() override {
    if (output_ != nullptr) output_->flush();
  }

  void done() override {
    const double prompt_ms = timings_.ttft_ms - timings_.queue_ms;
    std::string last = head_;
    append_(last, part_);
    last += fmt::format(
        ",\"done\":true,\"done_reason\":\"{}\",\"total_duration\":{},\"load_duration\":0,\"prompt_eval_count\":{},"
        "\"prompt_eval_duration\":{},\"eval_count\":{},\"eval_duration\":{}}}",
        is_cut_ ? "length" : "stop", nanoseconds(timings_.ttft_ms + timings_.decode_ms), usage_.prompt_tokens,
        nanoseconds(prompt_ms), usage_.completion_tokens, nanoseconds(timings_.decode_ms));
    if (output_ == nullptr) return exchange_->reply({.body = std::move(last)});
    output_->pending() += last + '\n';
    output_->end();
  }

  void fail(const ApiError& error) override {
    if (output_ == nullptr) return exchange_->reply(error_response(error, kOllamaErrors));
    output_->pending() += kOllamaErrors.stream_end(error);
    output_->end();
  }

  bool has_room() const override { return output_ == nullptr || output_->has_room(); }

 private:
  void close_call() {
    if (call_index_ < 0) return;
    if (call_.arguments.empty()) call_.arguments = "{}";
    if (is_object(call_.arguments)) {
      part_.calls.push_back(std::move(call_));
    } else {
      part_.text += call_.name + call_.arguments;
    }
    call_ = {};
    call_index_ = -1;
  }

  void write_line() {
    if (output_ == nullptr || part_.empty()) return;
    std::string& out = output_->pending();
    out += head_;
    append_(out, std::exchange(part_, {}));
    out += ",\"done\":false}\n";
  }

  const ExchangePtr exchange_;
  const std::shared_ptr<StreamOutput> output_;  // null: one reply
  const AppendPart append_;
  const std::string head_;
  Part part_;
  Call call_;            // that is being written
  int call_index_ = -1;  // of it; -1: none
  bool is_cut_ = false;
  UsageCounts usage_;
  AnswerTimings timings_;
};

std::string embeddings_end(const Embeddings& embeddings) {
  return fmt::format(",\"total_duration\":{},\"load_duration\":0,\"prompt_eval_count\":{}}}",
                     nanoseconds(embeddings.total_ms), embeddings.total_tokens());
}

}  // namespace

std::string utc_time(int64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts = {};
  gmtime_r(&time, &parts);
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", parts);
}

std::string tagged_name(std::string_view model) {
  return std::string(model) + (model.find(':') == std::string_view::npos ? ":latest" : "");
}

std::string ollama_loaded(std::string_view model, int64_t created, bool is_chat, bool unloads) {
  std::string out = head_of(model, created);
  (is_chat ? append_chat : append_generate)(out, {});
  return out + fmt::format(",\"done\":true,\"done_reason\":\"{}\"}}", unloads ? "unload" : "load");
}

std::string write_ollama_embed(const Embeddings& embeddings) {
  std::string body = "{\"model\":" + json_string(embeddings.model) + ",\"embeddings\":[";
  for (size_t i = 0; i < embeddings.vectors.size(); ++i) {
    if (i > 0) body += ',';
    append_json_numbers(body, embeddings.vectors[i]);
  }
  return body + ']' + embeddings_end(embeddings);
}

std::string write_ollama_embeddings(const Embeddings& embeddings) {
  std::string body = "{\"embedding\":";
  append_json_numbers(body, embeddings.vectors.at(0));
  return body + '}';
}

std::shared_ptr<AnswerWriter> make_ollama_chat_answer(const AnswerSetup& setup) {
  return std::make_shared<OllamaAnswer>(setup, append_chat);
}

std::shared_ptr<AnswerWriter> make_ollama_generate_answer(const AnswerSetup& setup) {
  return std::make_shared<OllamaAnswer>(setup, append_generate);
}

}  // namespace quire
