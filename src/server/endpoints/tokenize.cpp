#include "server/answers/answer_errors.h"
#include "server/answers/prompts.h"
#include "server/apis/json_text.h"
#include "server/apis/openai/wire.h"
#include "server/schema/field_error.h"

namespace quire {
namespace {

// The answer's form depends on the request's key: llama-server's for `content`, vLLM's for the others.
std::string as_pieces(const TokenNames& names, const std::vector<int32_t>& ids, bool with_pieces) {
  std::string body = "{\"tokens\":";
  if (!with_pieces) {
    append_token_ids(body, ids);
    return body + '}';
  }
  body += '[';
  for (size_t i = 0; i < ids.size(); ++i) {
    body += fmt::format("{}{{\"id\":{},\"piece\":{}}}", i > 0 ? "," : "", ids[i], json_string(names.name(ids[i])));
  }
  return body + "]}";
}

std::string as_count(const TokenNames& names, const std::vector<int32_t>& ids, int64_t max_model_len,
                     bool with_strings) {
  std::string body = fmt::format("{{\"count\":{},\"max_model_len\":{},\"tokens\":", ids.size(), max_model_len);
  append_token_ids(body, ids);
  body += ",\"token_strs\":";
  if (!with_strings) return body + "null}";
  body += '[';
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) body += ',';
    append_json_string(body, names.name(ids[i]));
  }
  return body + "]}";
}

std::vector<int32_t> encode(const ServerContext& context, const std::string& text, bool add_special_tokens,
                            bool parse_special) {
  return context.text->tokenizer().encode(text,
                                          {.add_special_tokens = add_special_tokens, .parse_special = parse_special});
}

}  // namespace

void handle_tokenize(ServerContext& context, const ExchangePtr& exchange) {
  answer_errors(context, exchange, [&] {
    require_loaded(context);
    const ApiRequest request = parse_request(exchange->request().body, kTokenizeApi, parse_context(context));
    require_model(context, request.model);
    const int num_forms = static_cast<int>(request.content.has_value()) + static_cast<int>(!request.prompts.empty()) +
                          static_cast<int>(!request.messages.empty());
    if (num_forms != 1) {
      refuse_field("prompt",
                   fmt::format("give exactly one of 'prompt', 'messages' and 'content', found {}", num_forms));
    }
    const TokenNames names{context.text->tokenizer()};
    std::string body;
    if (request.content) {
      const std::vector<int32_t> ids = encode(context, *request.content, request.add_special_tokens.value_or(false),
                                              request.parse_special.value_or(true));
      body = as_pieces(names, ids, request.with_pieces);
    } else {
      const std::vector<int32_t> ids =
          request.prompts.empty() ? chat_prompt(context, request, /*must_fit=*/false)
                                  : encode(context, request.prompts[0].text, request.add_special_tokens.value_or(true),
                                           request.parse_special.value_or(true));
      body = as_count(names, ids, context.model.max_model_len, request.return_token_strings);
    }
    exchange->reply({.body = std::move(body)});
  });
}

void handle_detokenize(ServerContext& context, const ExchangePtr& exchange) {
  answer_errors(context, exchange, [&] {
    require_loaded(context);
    const ApiRequest request = parse_request(exchange->request().body, kDetokenizeApi, parse_context(context));
    require_model(context, request.model);
    if (!request.tokens) refuse_field("tokens", "'tokens' is missing; give a list of token ids");
    const std::string text =
        json_string(context.text->tokenizer().decode(*request.tokens, /*skip_special_tokens=*/false));
    exchange->reply({.body = "{\"prompt\":" + text + ",\"content\":" + text + '}'});
  });
}

void handle_tokenizer_info(ServerContext& context, const ExchangePtr& exchange) {
  answer_errors(context, exchange, [&] {
    require_loaded(context);
    const Tokenizer& tokenizer = context.text->tokenizer();
    json::object info;
    info["tokenizer_class"] = context.text->tokenizer_kind();
    const auto add = [&](const char* key, std::optional<int32_t> id) {
      info[key] = id ? json::value(json::string(tokenizer.token_text(*id))) : json::value(nullptr);
    };
    add("bos_token", tokenizer.bos_id());
    add("eos_token", tokenizer.eos_id());
    add("unk_token", tokenizer.unk_id());
    add("pad_token", tokenizer.pad_id());
    const std::string& source = context.text->chat_template_source();
    info["chat_template"] = source.empty() ? json::value(nullptr) : json::value(json::string(source));
    info["vocab_size"] = tokenizer.vocab_size();
    info["model_max_length"] = context.model.max_model_len;
    exchange->reply({.body = json::serialize(info)});
  });
}

}  // namespace quire
