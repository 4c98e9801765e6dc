// OpenAI's /v1/responses, and what is stored of them.
#include <algorithm>
#include <map>
#include <utility>

#include "server/answers/answer_errors.h"
#include "server/answers/generation.h"
#include "server/answers/prompts.h"
#include "server/answers/recent_turns.h"
#include "server/apis/json_text.h"
#include "server/apis/openai_responses/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/list_page.h"
#include "server/schema/field_error.h"
#include "server/schema/prompt_fields.h"

namespace quire {
namespace {

constexpr std::string_view kPath = "/v1/responses/";

std::shared_ptr<const StoredResponse> require_stored(ServerContext& context, const http::Request& from,
                                                     std::string_view id, const std::string& param) {
  if (auto found = context.responses.find(from.tenant, id)) return found;
  throw ApiError(
      404, "invalid_request_error", param.empty() ? "response_not_found" : "previous_response_not_found",
      fmt::format("there is no response '{}' here: it was never stored, was deleted, or had to make room for "
                  "newer ones; send the whole conversation as 'input' instead",
                  printable(id, 80)),
      param);
}

// A stored answer has its calls' arguments as the model wrote them; templates want them as objects. Results that the
// request brings get the names of the tools that were called.
void read_calls(json::array& earlier, json::array& own, const Limits& limits) {
  std::map<std::string, json::value> names;  // by the id of the call
  for (json::value& message : earlier) {
    json::value* const calls = message.as_object().if_contains("tool_calls");
    if (calls == nullptr) continue;
    for (json::value& call : calls->as_array()) {
      json::object& function = call.at("function").as_object();
      json::value& arguments = function["arguments"];
      if (arguments.is_string()) arguments = read_call_arguments(std::string(arguments.get_string()), limits);
      names[std::string(call.at("id").as_string())] = function["name"];
    }
  }
  for (json::value& each : own) {
    json::object& message = each.as_object();
    const json::value* const id = message.if_contains("tool_call_id");
    if (id == nullptr || message.contains("name")) continue;
    if (const auto called = names.find(std::string(id->as_string())); called != names.end()) {
      message["name"] = called->second;
    }
  }
}

// The request, with the conversation that it continues.
ModelRequest read_conversation(ServerContext& context, const http::Request& from) {
  ModelRequest given = read_request(context, from, kResponsesApi);
  ApiRequest& request = given.request;
  if (request.input_items.empty() && request.previous_response_id.empty()) {
    refuse_field("input", "'input' is missing; give a string or a list of items");
  }
  if (request.previous_response_id.empty()) return given;
  const auto stored = require_stored(context, from, request.previous_response_id, "previous_response_id");
  json::array messages;
  json::array& own = request.messages;
  const bool has_instructions = request.echoed.contains("instructions");
  if (has_instructions) messages.push_back(std::move(own[0]));
  json::value earlier = parse_json(stored->messages, "stored messages");
  read_calls(earlier.as_array(), own, context.limits);
  for (json::value& message : earlier.as_array()) messages.push_back(std::move(message));
  for (size_t i = has_instructions ? 1 : 0; i < own.size(); ++i) messages.push_back(std::move(own[i]));
  const auto most = static_cast<size_t>(context.limits.messages);
  if (messages.size() > most) {
    refuse_field("previous_response_id",
                 fmt::format("the conversation has {} messages, at most {} are allowed; begin a "
                             "new one",
                             messages.size(), most));
  }
  own = std::move(messages);
  return given;
}

// A client may use one request id for several requests; the answers that are stored are told apart.
void make_id_unique(ServerContext& context, const http::Request& from, ApiRequest& request) {
  const std::string given = request.request_id.empty() ? from.id : request.request_id;
  for (int count = 2;
       context.responses.find(from.tenant, "resp_" + (request.request_id.empty() ? given : request.request_id));
       ++count) {
    request.request_id = fmt::format("{}-{}", given, count);
  }
}

// Items have an id in a list.
std::string listed_items(json::array items, const std::string& request_id) {
  for (size_t i = 0; i < items.size(); ++i) {
    json::object& item = items[i].as_object();
    if (!item.contains("type")) item["type"] = "message";
    if (find_member(item, "id") == nullptr) item["id"] = fmt::format("item_{}_{}", request_id, i);
  }
  return json::serialize(items);
}

// What stores the answer. Most of the text is made here, on a worker, and not where answers are sent.
KeepResponse keeper(ServerContext& context, const http::Request& from, const ApiRequest& request) {
  if (!request.store) return {};
  json::array messages = request.messages;
  if (request.echoed.contains("instructions")) messages.erase(messages.begin());
  std::string conversation = json::serialize(messages);
  conversation.back() = messages.empty() ? ' ' : ',';
  const std::string& key = request.request_id.empty() ? from.id : request.request_id;
  return [&context, tenant = from.tenant, conversation = std::move(conversation),
          items = listed_items(request.input_items, key)](const std::string& id, const std::string& response,
                                                          const json::object& message) {
    context.responses.put(
        tenant, id,
        {.response = response, .input_items = items, .messages = conversation + json::serialize(message) + ']'},
        context.limits);
  };
}

}  // namespace

void handle_responses(ServerContext& context, const ExchangePtr& exchange) {
  require_ready(context);
  const http::Request& from = exchange->request();
  auto [model, request] = read_conversation(context, from);
  require_room(*model.engine);
  make_id_unique(context, from, request);
  GenerationPlan plan;
  plan.model = &model;
  plan.prompts.push_back(conversation_prompt(model, request));
  plan.max_tokens = request.max_tokens.value_or(-1);
  plan.is_conversation = true;
  plan.make_answer = [keep = keeper(context, from, request)](const AnswerSetup& setup) {
    return make_responses_answer(setup, keep);
  };
  plan.path = "input";
  plan.request = std::move(request);
  start_generation(context, exchange, std::move(plan));
}

void handle_responses_input_tokens(ServerContext& context, const ExchangePtr& exchange) {
  require_loaded(context);
  const auto [model, request] = read_conversation(context, exchange->request());
  const size_t count = chat_prompt(model, request, /*must_fit=*/false).size();
  exchange->reply({.body = fmt::format(R"({{"object":"response.input_tokens","input_tokens":{}}})", count)});
}

void handle_response(ServerContext& context, const ExchangePtr& exchange) {
  const http::Request& from = exchange->request();
  const std::string_view id = std::string_view(from.path).substr(kPath.size());
  if (from.parameter("stream") == "true") {
    refuse_unsupported("stream", "a stored response is not streamed again; leave out 'stream'");
  }
  exchange->reply({.body = require_stored(context, from, id, "")->response});
}

void handle_delete_response(ServerContext& context, const ExchangePtr& exchange) {
  const http::Request& from = exchange->request();
  const std::string_view id = std::string_view(from.path).substr(kPath.size());
  require_stored(context, from, id, "");
  context.responses.erase(from.tenant, id);
  exchange->reply({.body = "{\"id\":" + json_string(id) + ",\"object\":\"response\",\"deleted\":true}"});
}

void handle_response_input_items(ServerContext& context, const ExchangePtr& exchange) {
  const http::Request& from = exchange->request();
  std::string_view id = std::string_view(from.path).substr(kPath.size());
  id = id.substr(0, id.find('/'));
  const auto stored = require_stored(context, from, id, "");
  const ListPage page = read_list_page(from, 20, 100);
  json::array items = parse_json(stored->input_items, "stored items").as_array();
  if (from.parameter("order") != "asc") std::reverse(items.begin(), items.end());
  // What follows the item that a client has seen last.
  const auto seen = std::find_if(items.rbegin(), items.rend(), [&](const json::value& item) {
    return !page.after.empty() && item.at("id") == json::value(json::string(page.after));
  });
  items.erase(items.begin(), seen.base());
  exchange->reply({.body = json::serialize(list_page_json(std::move(items), page))});
}

}  // namespace quire
