#include "server/answers/answer_errors.h"
#include "server/answers/prompts.h"
#include "server/apis/json_text.h"
#include "server/apis/tokenize/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/schema/field_error.h"

namespace quire {
void handle_tokenize(ServerContext& context, const ExchangePtr& exchange) {
  require_loaded(context);
  const ModelRequest given = read_request(context, exchange->request(), kTokenizeApi);
  const ServedModel& model = given.model;
  const ApiRequest& request = given.request;
  const int num_forms = static_cast<int>(request.content.has_value()) + static_cast<int>(!request.prompts.empty()) +
                        static_cast<int>(!request.messages.empty());
  if (num_forms != 1) {
    refuse_field("prompt", fmt::format("give exactly one of 'prompt', 'messages' and 'content', found {}", num_forms));
  }
  const TokenNames names{model.text->tokenizer()};
  const auto encode = [&](const std::string& text, bool add_special_tokens) {
    return model.text->tokenizer().encode(
        text, {.add_special_tokens = request.add_special_tokens.value_or(add_special_tokens),
               .parse_special = request.parse_special.value_or(context.parse_special)});
  };
  if (request.content) {
    return exchange->reply({.body = token_pieces(names, encode(*request.content, false), request.with_pieces)});
  }
  const std::vector<int32_t> ids =
      request.prompts.empty() ? chat_prompt(model, request, /*must_fit=*/false) : encode(request.prompts[0].text, true);
  exchange->reply({.body = token_count(names, ids, model.card.max_model_len, request.return_token_strings)});
}

void handle_detokenize(ServerContext& context, const ExchangePtr& exchange) {
  require_loaded(context);
  const auto [model, request] = read_request(context, exchange->request(), kDetokenizeApi);
  if (!request.tokens) refuse_field("tokens", "'tokens' is missing; give a list of token ids");
  const std::string text = json_string(model.text->tokenizer().decode(*request.tokens, /*skip_special_tokens=*/false));
  exchange->reply({.body = "{\"prompt\":" + text + ",\"content\":" + text + '}'});
}

void handle_tokenizer_info(ServerContext& context, const ExchangePtr& exchange) {
  require_loaded(context);
  const ServedModel& model = require_model(context, exchange->request().parameter("model"));
  const Tokenizer& tokenizer = model.text->tokenizer();
  json::object info;
  info["tokenizer_class"] = model.text->tokenizer_kind();
  const auto add = [&](const char* key, std::optional<int32_t> id) {
    info[key] = id ? json::value(json::string(tokenizer.token_text(*id))) : json::value(nullptr);
  };
  add("bos_token", tokenizer.bos_id());
  add("eos_token", tokenizer.eos_id());
  add("unk_token", tokenizer.unk_id());
  add("pad_token", tokenizer.pad_id());
  const std::string& source = model.text->chat_template_source();
  info["chat_template"] = source.empty() ? json::value(nullptr) : json::value(json::string(source));
  info["vocab_size"] = tokenizer.vocab_size();
  info["model_max_length"] = model.card.max_model_len;
  exchange->reply({.body = json::serialize(info)});
}

}  // namespace quire
