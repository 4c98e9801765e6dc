#include "measure/http_request.h"

#include <boost/asio/connect.hpp>
#include <boost/beast/core.hpp>

#include <algorithm>
#include <charconv>

#include "base/error.h"

namespace quire::load {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

asio::ip::tcp::resolver::results_type resolve(asio::io_context& io, const Target& target) {
  error_code error;
  auto endpoints = asio::ip::tcp::resolver(io).resolve(target.host, target.port, error);
  if (error) {
    fail(ErrorCode::kNotFound, "the host of --base-url, '{}', is unknown: {}", printable(target.authority()),
         error.message());
  }
  return endpoints;
}

HttpRequest make_request(http::verb verb, const Target& target, const std::string& path, const std::string& api_key) {
  HttpRequest request(verb, target.path + path, 11);
  request.set(http::field::host, target.authority());
  request.set(http::field::user_agent, "quire-bench/" QUIRE_VERSION);
  if (!api_key.empty()) request.set(http::field::authorization, "Bearer " + api_key);
  return request;
}

HttpRequest make_request(const ClientOptions& options, const PromptMaker& prompts, const PlannedRequest& planned) {
  json::object body = {{"max_tokens", planned.output_tokens},
                       {"temperature", 0.0},
                       {"stream", true},
                       {"stream_options", {{"include_usage", true}}}};
  if (options.ignore_eos) body["ignore_eos"] = true;
  if (!options.model.empty()) body["model"] = options.model;
  if (options.chat) {
    body["messages"] = json::array({{{"role", "user"}, {"content", prompts.text(planned)}}});
  } else if (options.token_ids) {
    body["prompt"] = json::value_from(prompts.ids(planned));
  } else {
    body["prompt"] = prompts.text(planned);
  }
  for (const auto& [key, value] : options.extra) body[key] = value;
  HttpRequest request = make_request(http::verb::post, options.target,
                                     options.chat ? "/v1/chat/completions" : "/v1/completions", options.api_key);
  request.set(http::field::content_type, "application/json");
  request.set(http::field::accept, "text/event-stream");
  request.keep_alive(options.keep_alive);
  request.body() = json::serialize(body);
  request.prepare_payload();
  return request;
}

namespace {

http::response<http::string_body> get(const Target& target, const std::string& path, const std::string& api_key) {
  asio::io_context io{1};
  beast::tcp_stream stream(io);
  const auto endpoints = resolve(io, target);
  const HttpRequest request = make_request(http::verb::get, target, path, api_key);
  beast::flat_buffer buffer;
  http::response<http::string_body> response;
  error_code error;
  stream.connect(endpoints, error);
  if (!error) http::write(stream, request, error);
  if (!error) http::read(stream, buffer, response, error);
  if (error) {
    fail(ErrorCode::kIo,
         "no server answers at {}: {}\nStart one, for example with 'quire serve MODEL', or name it by --base-url.",
         printable(target.authority()), error.message());
  }
  if (response.result_int() == 401) {
    fail(ErrorCode::kInvalidArgument, "{} wants an API key: give --api-key KEY", printable(target.authority()));
  }
  return response;
}

// The sum of a counter's samples.
int64_t counter_of(std::string_view metrics, std::string_view name) {
  double sum = 0;
  while (!metrics.empty()) {
    const size_t end = std::min(metrics.find('\n'), metrics.size());
    const std::string_view line = metrics.substr(0, end);
    metrics.remove_prefix(std::min(end + 1, metrics.size()));
    const bool is_sample =
        line.starts_with(name) && line.size() > name.size() && (line[name.size()] == '{' || line[name.size()] == ' ');
    const size_t space = line.rfind(' ');
    double value = 0;
    if (is_sample && std::from_chars(line.data() + space + 1, line.data() + line.size(), value).ec == std::errc()) {
      sum += value;
    }
  }
  return static_cast<int64_t>(sum);
}

}  // namespace

DraftTotals draft_totals(const Target& target, const std::string& api_key) {
  http::response<http::string_body> response;
  try {
    response = get(target, "/metrics", api_key);
  } catch (const Error&) {
    return {};  // what the requests met says more
  }
  if (response.result_int() != 200) return {};
  const std::string_view metrics = response.body();
  return {.num_drafts = counter_of(metrics, "vllm:spec_decode_num_drafts_total"),
          .draft_tokens = counter_of(metrics, "vllm:spec_decode_num_draft_tokens_total"),
          .accepted_tokens = counter_of(metrics, "vllm:spec_decode_num_accepted_tokens_total")};
}

std::string first_model(const Target& target, const std::string& api_key) {
  const auto response = get(target, "/v1/models", api_key);
  error_code error;
  const json::value list = json::parse(response.body(), error);
  if (error || response.result_int() != 200 || !list.is_object()) return "";
  const json::value* data = list.get_object().if_contains("data");
  if (data == nullptr || !data->is_array() || data->get_array().empty()) return "";
  const json::value& model = data->get_array().front();
  return model.is_object() ? find_string(model.get_object(), "id", "") : "";
}

}  // namespace quire::load
