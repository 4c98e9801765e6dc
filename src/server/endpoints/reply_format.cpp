#include "server/endpoints/reply_format.h"

#include <fmt/format.h>

#include "server/endpoints/json_text.h"
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

template <typename List, typename Append>
void append_list(std::string& out, const List& list, Append append) {
  out += '[';
  bool is_first = true;
  for (const auto& element : list) {
    if (!is_first) out += ',';
    is_first = false;
    append(element);
  }
  out += ']';
}

class ChatFormat : public ReplyFormat {
 public:
  using ReplyFormat::ReplyFormat;
  std::string_view id_prefix() const override { return "chatcmpl-"; }
  std::string_view object(bool is_stream) const override {
    return is_stream ? "chat.completion.chunk" : "chat.completion";
  }
  bool has_prompt_in_choice() const override { return false; }

  void append_choice(std::string& out, const ChoicePart& part) const override {
    out += "{\"index\":";
    append_json_number(out, int64_t{part.index});
    out += part.is_stream ? ",\"delta\":{" : ",\"message\":{";
    if (part.is_first) out += "\"role\":\"assistant\"";
    if (part.is_first || !part.piece.text.empty() || part.end == nullptr) {
      out += part.is_first ? ",\"content\":" : "\"content\":";
      append_json_string(out, part.piece.text);
    }
    out += part.is_stream ? "}" : ",\"refusal\":null}";
    out += ",\"logprobs\":";
    append_logprobs(out, part.piece.tokens, /*null_when_empty=*/part.is_stream);
    append_end(out, part);
  }

 private:
  // The token that ends the turn is not part of the message and is left out, as in OpenAI's answers.
  void append_logprobs(std::string& out, const std::vector<PieceToken>& tokens, bool null_when_empty) const {
    std::vector<const PieceToken*> shown;
    for (const PieceToken& token : tokens) {
      if (!token.is_end) shown.push_back(&token);
    }
    if (!logprobs_ || (null_when_empty && shown.empty())) {
      out += "null";
      return;
    }
    out += "{\"content\":";
    append_list(out, shown, [&](const PieceToken* from) {
      append_token(out, names_, from->token.id, from->token.logprob);
      out += ",\"top_logprobs\":";
      append_list(out, from->token.top, [&](const TokenLogprob& top) {
        append_token(out, names_, top.id, top.logprob);
        out += '}';
      });
      out += '}';
    });
    out += ",\"refusal\":null}";
  }
};

class CompletionFormat : public ReplyFormat {
 public:
  using ReplyFormat::ReplyFormat;
  std::string_view id_prefix() const override { return "cmpl-"; }
  std::string_view object(bool) const override { return "text_completion"; }
  bool has_prompt_in_choice() const override { return true; }

  void append_choice(std::string& out, const ChoicePart& part) const override {
    out += "{\"index\":";
    append_json_number(out, int64_t{part.index});
    out += ",\"text\":";
    append_json_string(out, part.piece.text);
    out += ",\"logprobs\":";
    append_logprobs(out, part.piece.tokens, /*null_when_empty=*/part.is_stream);
    append_end(out, part);
  }

 private:
  void append_logprobs(std::string& out, const std::vector<PieceToken>& tokens, bool null_when_empty) const {
    if (!logprobs_ || (null_when_empty && tokens.empty())) {
      out += "null";
      return;
    }
    out += "{\"tokens\":";
    append_list(out, tokens, [&](const PieceToken& from) { append_json_string(out, names_.name(from.token.id)); });
    out += ",\"token_logprobs\":";
    append_list(out, tokens, [&](const PieceToken& from) {
      if (!from.has_logprob) {
        out += "null";
      } else {
        append_json_number(out, from.token.logprob);
      }
    });
    out += ",\"top_logprobs\":";
    append_list(out, tokens, [&](const PieceToken& from) { append_top(out, from); });
    out += ",\"text_offset\":";
    append_list(out, tokens, [&](const PieceToken& from) { append_json_number(out, from.text_offset); });
    out += '}';
  }

  // The likeliest tokens and the token itself. If two tokens have the same name, the likelier keeps it.
  void append_top(std::string& out, const PieceToken& from) const {
    if (!from.has_logprob) {
      out += "null";
      return;
    }
    std::vector<std::string> seen;
    out += '{';
    const auto add = [&](int32_t id, float logprob) {
      std::string name = names_.name(id);
      for (const std::string& other : seen) {
        if (other == name) return;
      }
      if (!seen.empty()) out += ',';
      append_json_string(out, name);
      out += ':';
      append_json_number(out, logprob);
      seen.push_back(std::move(name));
    };
    for (const TokenLogprob& top : from.token.top) add(top.id, top.logprob);
    add(from.token.id, from.token.logprob);
    out += '}';
  }
};

}  // namespace

std::string TokenNames::name(int32_t id) const {
  if (as_ids) return fmt::format("token_id:{}", id);
  std::string bytes = tokenizer.token_bytes(id);
  if (is_valid_utf8(bytes)) return bytes;
  std::string escaped = "bytes:";
  for (const char byte : bytes) escaped += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
  return escaped;
}

void ReplyFormat::append_end(std::string& out, const ChoicePart& part) const {
  out += ",\"finish_reason\":";
  if (part.end == nullptr) {
    out += "null";
  } else {
    append_json_string(out, part.end->finish_reason);
    out += ",\"stop_reason\":";
    out += part.end->stop_reason;
  }
  if (token_ids_) {
    out += ",\"token_ids\":";
    append_list(out, part.piece.tokens,
                [&](const PieceToken& from) { append_json_number(out, int64_t{from.token.id}); });
  }
  out += part.prompt;
  out += '}';
}

std::unique_ptr<ReplyFormat> make_chat_format(TokenNames names, const ApiRequest& request) {
  return std::make_unique<ChatFormat>(names, request);
}

std::unique_ptr<ReplyFormat> make_completion_format(TokenNames names, const ApiRequest& request) {
  return std::make_unique<CompletionFormat>(names, request);
}

void append_token_ids(std::string& out, std::span<const int32_t> ids) {
  append_list(out, ids, [&](int32_t id) { append_json_number(out, int64_t{id}); });
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
                 "\"prompt_tokens_details\":{{\"cached_tokens\":{}}}}}",
                 usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens + usage.completion_tokens,
                 usage.cached_tokens);
}

std::string system_fingerprint(const ModelCard& model) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : fmt::format("{} {} {} {} {} {}", model.root, model.architecture, model.num_parameters,
                                  model.weight_bytes, model.trained_context, model.arithmetic)) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return fmt::format("fp_{:010x}", hash & 0xffffffffff);
}

}  // namespace quire
