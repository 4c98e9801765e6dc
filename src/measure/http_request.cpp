#include "measure/http_request.h"

#include <boost/asio/connect.hpp>
#include <boost/beast/core.hpp>

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

std::string first_model(const Target& target, const std::string& api_key) {
  asio::io_context io{1};
  beast::tcp_stream stream(io);
  const auto endpoints = resolve(io, target);
  const HttpRequest request = make_request(http::verb::get, target, "/v1/models", api_key);
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
  const json::value list = json::parse(response.body(), error);
  if (error || response.result_int() != 200 || !list.is_object()) return "";
  const json::value* data = list.get_object().if_contains("data");
  if (data == nullptr || !data->is_array() || data->get_array().empty()) return "";
  const json::value& model = data->get_array().front();
  return model.is_object() ? find_string(model.get_object(), "id", "") : "";
}

}  // namespace quire::load
