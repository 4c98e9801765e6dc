#include "server/answers/embeddings.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "server/apis/error_form.h"
#include "server/apis/json_text.h"

namespace quire {
namespace {

class EmbeddingReader : public StreamReader {
 public:
  EmbeddingReader(const ExchangePtr& exchange, StreamGroup& group, EmbeddingPlan plan)
      : exchange_(exchange), group_(group), plan_(std::move(plan)), done_(plan_.num_tokens.size()) {}

  void on_event(size_t input, OutputEvent event) override {
    if (event.finish == FinishReason::kNone) return;
    done_[input].is_finished = true;
    count(input, event);
    if (event.finish == FinishReason::kTimeout) {
      return fail({408, "timeout_error", "timeout", "the request's time ran out; give it a longer timeout"});
    }
    if (event.finish == FinishReason::kCancelled) {
      return fail(
          {503, "unavailable_error", "draining", "the server is shutting down and ended this request", "", 1000});
    }
    if (event.finish == FinishReason::kError) {
      return fail({500, "server_error", "numeric_error", "the model produced NaN or infinity for this input"});
    }
    if (event.finish == FinishReason::kAborted) {
      return fail({500, "server_error", "step_failed", "the server could not run the model for this input; try again"});
    }
    if (event.embedding.empty()) {
      return fail({501, "not_supported_error", "not_supported", "this model gives no embeddings"});
    }
    const auto size = static_cast<int>(event.embedding.size());
    if (plan_.dimensions && *plan_.dimensions > size) {
      return fail({400, "invalid_request_error", "",
                   fmt::format("'dimensions' is {}, this model's embeddings have {}", *plan_.dimensions, size),
                   "dimensions"});
    }
    if (plan_.dimensions) event.embedding.resize(static_cast<size_t>(*plan_.dimensions));
    if (plan_.normalize) normalise(event.embedding);
    done_[input].embedding = std::move(event.embedding);
  }

  void on_pause(bool is_complete) override {
    if (!is_complete) return;
    std::string body = "{\"object\":\"list\",\"data\":[";
    int64_t num_tokens = 0;
    for (size_t i = 0; i < done_.size(); ++i) {
      body += fmt::format("{}{{\"object\":\"embedding\",\"index\":{},\"embedding\":", i > 0 ? "," : "", i);
      append(body, done_[i].embedding);
      body += '}';
      num_tokens += plan_.num_tokens[i];
    }
    body += "],\"model\":" + json_string(plan_.model->card.id);
    if (plan_.is_truncated) body += ",\"truncated\":true";
    body += fmt::format(",\"usage\":{{\"prompt_tokens\":{0},\"total_tokens\":{0}}}}}", num_tokens);
    exchange_->reply({.body = std::move(body)});
  }

  void on_refused(const ApiError& error) override { fail(error); }

  void on_gone() override {
    OutputEvent end;
    end.finish = FinishReason::kCancelled;
    for (size_t i = 0; i < done_.size(); ++i) {
      if (!done_[i].is_finished) count(i, end);
    }
  }

 private:
  struct Done {
    bool is_finished = false;
    std::vector<float> embedding;
  };

  void append(std::string& out, const std::vector<float>& embedding) const {
    if (plan_.is_base64) {
      out += '"' + base64_of(embedding) + '"';
      return;
    }
    out += '[';
    for (size_t i = 0; i < embedding.size(); ++i) {
      if (i > 0) out += ',';
      append_json_number(out, embedding[i]);
    }
    out += ']';
  }

  void count(size_t input, const OutputEvent& event) {
    plan_.model->metrics->add_finished(ModelMetrics::finished(event, plan_.num_tokens[input], 0, 0, 1));
  }

  void fail(const ApiError& error) {
    exchange_->reply(error_response(error, kOpenAiErrors));
    group_.stop();
  }

  const ExchangePtr exchange_;
  StreamGroup& group_;  // owns this
  const EmbeddingPlan plan_;
  std::vector<Done> done_;
};

}  // namespace

void normalise(std::vector<float>& vector) {
  double sum = 0.0;
  for (const float x : vector) sum += static_cast<double>(x) * x;
  if (!(sum > 0.0)) return;
  const double scale = 1.0 / std::sqrt(sum);
  for (float& x : vector) x = static_cast<float>(x * scale);
}

std::string base64_of(const std::vector<float>& vector) {
  static_assert(std::endian::native == std::endian::little, "clients expect little-endian floats");
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<unsigned char> bytes(vector.size() * sizeof(float));
  if (!bytes.empty()) std::memcpy(bytes.data(), vector.data(), bytes.size());
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) group = group << 8 | (j < count ? bytes[i + j] : 0u);
    for (size_t j = 0; j < 4; ++j) out += j <= count ? kDigits[group >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

std::unique_ptr<StreamReader> make_embedding_reader(const ExchangePtr& exchange, StreamGroup& group,
                                                    EmbeddingPlan plan) {
  return std::make_unique<EmbeddingReader>(exchange, group, std::move(plan));
}

}  // namespace quire
