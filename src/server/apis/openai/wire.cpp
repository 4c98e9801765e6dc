#include "server/apis/openai/wire.h"

#include <fmt/format.h>

#include <utility>

#include "server/apis/json_text.h"
#include "text/utf8.h"

namespace quire {
namespace {

// Each {"token", "logprob", "bytes"} without the closing brace.
void append_token(std::string& out, const TokenNames& names, int32_t id, float logprob) {
  out += "{\"token\":";
  append_json_string(out, names.name(id));
  out += ",\"logprob\":";
  append_json_number(out, logprob);
  out += ",\"bytes\":[";
  const std::string bytes = names.tokenizer.token_bytes(id);
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i > 0) out += ',';
    append_json_number(out, static_cast<int64_t>(static_cast<unsigned char>(bytes[i])));
  }
  out += ']';
}

}  // namespace

std::string TokenNames::name(int32_t id) const {
  if (as_ids) return fmt::format("token_id:{}", id);
  std::string bytes = tokenizer.token_bytes(id);
  if (is_valid_utf8(bytes)) return bytes;
  std::string escaped = "bytes:";
  for (const char byte : bytes) escaped += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
  return escaped;
}

void append_token_ids(std::string& out, std::span<const int32_t> ids) {
  append_list(out, ids, [&](int32_t id) { append_json_number(out, int64_t{id}); });
}

void append_token_logprobs(std::string& out, const TokenNames& names, const std::vector<PieceToken>& tokens) {
  out += '[';
  const char* separator = "";
  for (const PieceToken& from : tokens) {
    if (from.is_end) continue;
    out += std::exchange(separator, ",");
    append_token(out, names, from.token.id, from.token.logprob);
    out += ",\"top_logprobs\":";
    append_list(out, from.token.top, [&](const TokenLogprob& top) {
      append_token(out, names, top.id, top.logprob);
      out += '}';
    });
    out += '}';
  }
  out += ']';
}

void append_prompt_logprobs(std::string& out, const TokenNames& names, std::span<const SampledToken> tokens,
                            int num_top) {
  bool is_first = true;
  append_list(out, tokens, [&](const SampledToken& token) {
    if (std::exchange(is_first, false)) {
      out += "null";
      return;
    }
    bool has_own = false;
    std::string separator = "{";
    const auto add = [&](int32_t id, float logprob, int64_t rank) {
      out += separator + '"';
      append_json_number(out, int64_t{id});
      out += "\":{\"logprob\":";
      append_json_number(out, logprob);
      out += ",\"rank\":";
      append_json_number(out, rank);
      out += ",\"decoded_token\":";
      append_json_string(out, names.name(id));
      out += '}';
      separator = ",";
      has_own = has_own || id == token.id;
    };
    const size_t count = std::min(token.top.size(), static_cast<size_t>(num_top));
    for (size_t i = 0; i < count; ++i) add(token.top[i].id, token.top[i].logprob, static_cast<int64_t>(i) + 1);
    if (!has_own) add(token.id, token.logprob, int64_t{token.rank} + 1);
    out += '}';
  });
}

void append_usage(std::string& out, const UsageCounts& usage) {
  fmt::format_to(std::back_inserter(out),
                 "{{\"prompt_tokens\":{},\"completion_tokens\":{},\"total_tokens\":{},"
                 "\"prompt_tokens_details\":{{\"cached_tokens\":{}}}",
                 usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens + usage.completion_tokens,
                 usage.cached_tokens);
  if (usage.prediction || usage.reasoning_tokens > 0) {
    out += ",\"completion_tokens_details\":{";
    if (usage.reasoning_tokens > 0) {
      fmt::format_to(std::back_inserter(out), "\"reasoning_tokens\":{}{}", usage.reasoning_tokens,
                     usage.prediction ? "," : "");
    }
    if (usage.prediction) {
      fmt::format_to(std::back_inserter(out), "\"accepted_prediction_tokens\":{},\"rejected_prediction_tokens\":{}",
                     usage.prediction->accepted_tokens, usage.prediction->rejected_tokens);
    }
    out += '}';
  }
  out += '}';
}

}  // namespace quire
