#include "server/endpoints/reply_writer.h"

#include <chrono>

#include "server/endpoints/json_text.h"

namespace quire {
namespace {

// A ping is sent after one to two of these intervals without output.
constexpr std::chrono::milliseconds kPingTick{7500};

std::string envelope(const ReplyState& state) {
  std::string head = "{\"id\":" + json_string(state.id) + ",\"object\":";
  append_json_string(head, state.format->object(state.is_stream));
  head += ",\"created\":";
  append_json_number(head, state.created);
  head += ",\"model\":" + json_string(state.model) + ",\"system_fingerprint\":" + json_string(state.fingerprint);
  if (state.is_truncated) head += ",\"truncated\":true";
  return head;
}

class StreamWriter : public ReplyWriter, public std::enable_shared_from_this<StreamWriter> {
 public:
  StreamWriter(ExchangePtr exchange, const ReplyState& state, uint64_t buffer_bytes)
      : exchange_(std::move(exchange)),
        state_(state),
        buffer_bytes_(buffer_bytes),
        head_("data: " + envelope(state)),
        is_started_(static_cast<size_t>(state.num_choices), false) {}

  void begin() {
    exchange_->begin_stream("text/event-stream");
    tick();
  }

  void piece(int index, TextPiece piece) override { chunk(index, piece, nullptr, false); }
  void end_choice(int index, TextPiece rest, ChoiceEnd end, bool is_last) override {
    chunk(index, rest, &end, is_last && !state_.include_usage);
  }

  void flush() override {
    if (out_.empty()) return;
    exchange_->send(std::move(out_));
    out_.clear();
    is_silent_ = false;
  }

  void done() override {
    if (state_.include_usage) {
      out_ += head_ + ",\"choices\":[],\"usage\":";
      append_usage(out_, state_.usage);
      finish_event(/*with_timings=*/true);
    }
    out_ += "data: [DONE]\n\n";
    flush();
    exchange_->end();
  }

  void fail(const ApiError& error) override {
    out_ += "data: " + error_json(error) + "\n\ndata: [DONE]\n\n";
    flush();
    exchange_->end();
  }

  bool has_room() const override { return exchange_->unsent_bytes() + out_.size() < buffer_bytes_; }

 private:
  void chunk(int index, const TextPiece& piece, const ChoiceEnd* end, bool with_timings) {
    const bool is_first = !is_started_[static_cast<size_t>(index)];
    is_started_[static_cast<size_t>(index)] = true;
    const std::string_view prompt =
        is_first ? std::string_view(state_.prompt_members[static_cast<size_t>(index)]) : std::string_view();
    const bool in_choice = state_.format->has_prompt_in_choice();
    out_ += head_;
    if (!in_choice) out_ += prompt;
    out_ += ",\"choices\":[";
    state_.format->append_choice(out_, {.index = index,
                                        .is_stream = true,
                                        .is_first = is_first,
                                        .piece = piece,
                                        .end = end,
                                        .prompt = in_choice ? prompt : std::string_view()});
    out_ += ']';
    if (state_.continuous_usage) {
      out_ += ",\"usage\":";
      append_usage(out_, state_.usage);
    }
    finish_event(with_timings);
  }

  void finish_event(bool with_timings) {
    if (with_timings && !state_.timings.empty()) out_ += ",\"timings\":" + state_.timings;
    out_ += "}\n\n";
  }

  // Proxies and clients close silent connections.
  void tick() {
    exchange_->post_after(kPingTick, [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (self == nullptr) return;
      if (self->is_silent_) self->exchange_->send(": ping\n\n");
      self->is_silent_ = true;
      self->tick();
    });
  }

  const ExchangePtr exchange_;
  const ReplyState& state_;
  const uint64_t buffer_bytes_;
  const std::string head_;  // of every event
  std::vector<bool> is_started_;
  std::string out_;
  bool is_silent_ = false;
};

class WholeWriter : public ReplyWriter {
 public:
  WholeWriter(ExchangePtr exchange, const ReplyState& state)
      : exchange_(std::move(exchange)), state_(state), choices_(static_cast<size_t>(state.num_choices)) {}

  void piece(int index, TextPiece piece) override { choices_[static_cast<size_t>(index)].add(std::move(piece)); }
  void end_choice(int index, TextPiece rest, ChoiceEnd end, bool) override {
    choices_[static_cast<size_t>(index)].add(std::move(rest));
    choices_[static_cast<size_t>(index)].end = std::move(end);
  }

  void done() override {
    std::string body = envelope(state_);
    const bool in_choice = state_.format->has_prompt_in_choice();
    if (!in_choice) body += state_.prompt_members[0];
    body += ",\"choices\":[";
    for (size_t i = 0; i < choices_.size(); ++i) {
      if (i > 0) body += ',';
      state_.format->append_choice(body, {.index = static_cast<int>(i),
                                          .is_first = true,
                                          .piece = choices_[i].piece,
                                          .end = &choices_[i].end,
                                          .prompt = in_choice ? std::string_view(state_.prompt_members[i]) : ""});
    }
    body += "],\"usage\":";
    append_usage(body, state_.usage);
    if (!state_.timings.empty()) body += ",\"timings\":" + state_.timings;
    body += '}';
    exchange_->reply({.body = std::move(body)});
  }

  void fail(const ApiError& error) override { exchange_->reply(error_response(error)); }

 private:
  struct Choice {
    TextPiece piece;
    ChoiceEnd end;

    void add(TextPiece more) {
      piece.text += more.text;
      std::move(more.tokens.begin(), more.tokens.end(), std::back_inserter(piece.tokens));
    }
  };

  const ExchangePtr exchange_;
  const ReplyState& state_;
  std::vector<Choice> choices_;
};

}  // namespace

std::shared_ptr<ReplyWriter> make_stream_writer(ExchangePtr exchange, const ReplyState& state, uint64_t buffer_bytes) {
  const auto writer = std::make_shared<StreamWriter>(std::move(exchange), state, buffer_bytes);
  writer->begin();
  return writer;
}

std::shared_ptr<ReplyWriter> make_whole_writer(ExchangePtr exchange, const ReplyState& state) {
  return std::make_shared<WholeWriter>(std::move(exchange), state);
}

}  // namespace quire
