// Inside measure: what the client sends, and where to. Includes the headers of the network library.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/http.hpp>

#include "measure/client.h"

namespace quire::load {

using HttpRequest = boost::beast::http::request<boost::beast::http::string_body>;

// Throws Error when the host's name is unknown.
boost::asio::ip::tcp::resolver::results_type resolve(boost::asio::io_context& io, const Target& target);

HttpRequest make_request(boost::beast::http::verb verb, const Target& target, const std::string& path,
                         const std::string& api_key);
// The request for one answer of the workload, as an event stream.
HttpRequest make_request(const ClientOptions& options, const PromptMaker& prompts, const PlannedRequest& planned);

}  // namespace quire::load
