#include "server/http/request_parser.h"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <limits>
#include <optional>

#include "server/http/body_reader.h"
#include "server/http/wire.h"

namespace quire::http {
namespace {

namespace beast_http = boost::beast::http;
using BeastError = boost::beast::error_code;
using View = boost::beast::string_view;

constexpr size_t kStartLineSlack = 64;  // method, version and spaces around the target
constexpr int kBlankLines = 4;          // before a request
constexpr size_t kBodyReserveBytes = 64 * 1024;

// Every line must end in CR LF, and none may continue the line before: programs differ in how they read other forms.
bool has_plain_lines(std::string_view header) {
  for (size_t at = header.find('\n'); at != std::string_view::npos; at = header.find('\n', at + 1)) {
    if (at == 0 || header[at - 1] != '\r') return false;
    if (at + 1 < header.size() && (header[at + 1] == ' ' || header[at + 1] == '\t')) return false;
  }
  return true;
}

bool is_number(std::string_view text) {
  return !text.empty() && text.size() <= 18 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

// Beast parses the header's grammar; the callbacks apply the stricter rules. Its chunk reader is not used: it asserts
// on a last chunk that arrives in pieces.
struct RequestParser::Impl final {
  class Grammar final : public beast_http::basic_parser<true> {
   public:
    explicit Grammar(Impl& owner) : owner_(owner) {
      eager(true);
      header_limit(std::numeric_limits<uint32_t>::max());  // its limit was checked before
      body_limit(boost::none);
    }

   private:
    void on_request_impl(beast_http::verb, View method, View target, int version, BeastError& ec) override {
      owner_.take_start_line({method.data(), method.size()}, {target.data(), target.size()}, version);
      fail_if_refused(ec);
    }
    void on_response_impl(int, View, int, BeastError&) override {}
    void on_field_impl(beast_http::field, View name, View value, BeastError& ec) override {
      owner_.take_field({name.data(), name.size()}, {value.data(), value.size()});
      fail_if_refused(ec);
    }
    void on_header_impl(BeastError&) override {}
    void on_body_init_impl(const boost::optional<uint64_t>&, BeastError&) override {}
    size_t on_body_impl(View, BeastError&) override { return 0; }
    void on_chunk_header_impl(uint64_t, View, BeastError&) override {}
    size_t on_chunk_body_impl(uint64_t, View, BeastError&) override { return 0; }
    void on_finish_impl(BeastError&) override {}

    void fail_if_refused(BeastError& ec) const {
      if (owner_.problem.status != 0) ec = beast_http::error::bad_value;
    }

    Impl& owner_;
  };

  explicit Impl(const Limits& its_limits) : limits(its_limits) { grammar.emplace(*this); }

  void refuse(int status, const char* code, const char* message) {
    if (problem.status == 0) problem = {status, code, message};
  }
  void refuse(const char* message) { refuse(400, "bad_http", message); }

  void take_start_line(std::string_view method, std::string_view target, int version) {
    if (target.size() > limits.target_bytes) {
      return refuse(414, "target_too_long", "the request's path and query are longer than this server allows");
    }
    is_http_1_0 = version < 11;
    request.method = method;
    // The absolute form has a host too, which overrides the Host header field.
    for (const std::string_view scheme : {"http://", "https://"}) {
      if (!target.starts_with(scheme)) continue;
      target.remove_prefix(scheme.size());
      const size_t slash = std::min(target.find_first_of("/?"), target.size());
      authority = target.substr(0, slash);
      target.remove_prefix(slash);
      if (target.empty()) target = "/";
    }
    const bool is_server = target == "*" && method == "OPTIONS";
    if (!target.starts_with('/') && !is_server) return refuse("the request's target must be a path such as /v1/models");
    const size_t question = std::min(target.find('?'), target.size());
    if (target.find('#') != std::string_view::npos || !percent_decode(target.substr(0, question), request.path)) {
      return refuse("the request's path has a malformed or forbidden escape");
    }
    if (question < target.size()) request.query = target.substr(question + 1);
  }

  void take_field(std::string_view name, std::string_view value) {
    if (++num_fields > limits.header_fields) {
      return refuse(431, "header_too_large", "the request has more header fields than this server allows");
    }
    for (const char c : value) {
      if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f) {
        return refuse("a header field holds a control character");
      }
    }
    std::string key = lowered(name);
    const bool is_length = key == "content-length";
    const bool is_coding = key == "transfer-encoding";
    if (is_length || is_coding || key == "host") {
      if (has_field(key)) return refuse("a header field that decides about framing or host is given twice");
    }
    if (is_length && !is_number(value)) return refuse("Content-Length must be one decimal number");
    if (is_coding && lowered(value) != "chunked") {
      return refuse(501, "unknown_transfer_encoding", "the only Transfer-Encoding this server knows is chunked");
    }
    if (is_coding && is_http_1_0) return refuse("Transfer-Encoding does not exist in HTTP/1.0");
    if (key == "expect") {
      if (lowered(value) != "100-continue")
        return refuse(417, "unknown_expectation", "Expect may only be 100-continue");
      expects_continue = !is_http_1_0;
    }
    request.headers.emplace_back(std::move(key), std::string(value));
  }

  bool has_field(std::string_view key) const {
    return std::any_of(request.headers.begin(), request.headers.end(),
                       [&](const auto& field) { return field.first == key; });
  }

  // The end of the whole header, or 0 when it has not arrived yet.
  size_t find_header_end(std::string_view bytes) {
    const size_t from = scanned > 3 ? scanned - 3 : 0;
    const size_t end = bytes.find("\r\n\r\n", from);
    const size_t size = end == std::string_view::npos ? bytes.size() : end + 4;
    scanned = bytes.size();
    const size_t line = std::min(bytes.find("\r\n"), bytes.size());
    if (line > limits.target_bytes + kStartLineSlack) {
      refuse(414, "target_too_long", "the request's path and query are longer than this server allows");
    } else if (size - line > limits.header_bytes) {
      refuse(431, "header_too_large", "the request's header fields are larger than this server allows");
    }
    return end == std::string_view::npos ? 0 : size;
  }

  Progress feed_header(std::string_view bytes, size_t& consumed) {
    // Some clients send one empty line too many after a body.
    while (scanned == 0 && num_blank_lines < kBlankLines && bytes.substr(consumed).starts_with("\r\n")) {
      ++num_blank_lines;
      consumed += 2;
    }
    bytes.remove_prefix(consumed);
    if (bytes.empty() || (scanned == 0 && bytes == "\r")) return Progress::kMore;
    const size_t size = find_header_end(bytes);
    if (problem.status != 0) return Progress::kError;
    if (size == 0) return Progress::kMore;
    const std::string_view header = bytes.substr(0, size);
    if (!has_plain_lines(header)) refuse("header lines must end in CR LF and must not be folded");
    BeastError error;
    if (problem.status == 0) grammar->put(boost::asio::const_buffer(header.data(), header.size()), error);
    if (problem.status == 0 && error) refuse("the request is not well-formed HTTP/1.1");
    if (problem.status == 0 && !grammar->is_header_done()) refuse("the request is not well-formed HTTP/1.1");
    if (problem.status == 0) finish_host();
    if (problem.status == 0) expect_body();
    if (problem.status != 0) return Progress::kError;
    consumed += size;
    has_header = true;
    is_keep_alive = grammar->keep_alive();
    return Progress::kHeader;
  }

  void finish_host() {
    const auto host = std::find_if(request.headers.begin(), request.headers.end(),
                                   [](const auto& field) { return field.first == "host"; });
    if (host == request.headers.end()) {
      if (!is_http_1_0) return refuse("HTTP/1.1 requires a Host header field");
      if (!authority.empty()) request.headers.emplace_back("host", authority);
    } else if (!authority.empty()) {
      host->second = authority;
    }
  }

  void expect_body() {
    if (grammar->chunked()) return body.expect_chunks();
    const uint64_t length = grammar->content_length().value_or(0);
    if (length > limits.body_bytes) return refuse_body();
    request.body.reserve(std::min<uint64_t>(length, kBodyReserveBytes));
    body.expect_length(length);
  }

  void refuse_body() { refuse(413, "request_too_large", "the request's body is larger than this server allows"); }

  Progress feed_body(std::string_view bytes, size_t& consumed) {
    switch (body.feed(bytes, consumed, request.body, limits)) {
      case BodyReader::Outcome::kMore: return Progress::kMore;
      case BodyReader::Outcome::kComplete: return Progress::kComplete;
      case BodyReader::Outcome::kTooLarge: refuse_body(); break;
      case BodyReader::Outcome::kTooManyFields:
        refuse(431, "header_too_large", "the request has more trailer fields than this server allows");
        break;
      case BodyReader::Outcome::kMalformed: refuse("the request's chunked body is malformed"); break;
    }
    return Progress::kError;
  }

  const Limits& limits;
  Request request;
  Problem problem;
  std::optional<Grammar> grammar;
  BodyReader body;
  std::string authority;
  size_t scanned = 0;
  int num_fields = 0;
  int num_blank_lines = 0;
  bool has_header = false;
  bool is_http_1_0 = false;
  bool is_keep_alive = false;
  bool expects_continue = false;
};

RequestParser::RequestParser(const Limits& limits) : impl_(std::make_unique<Impl>(limits)) {}
RequestParser::~RequestParser() = default;

RequestParser::Progress RequestParser::feed(std::string_view bytes, size_t& consumed) {
  consumed = 0;
  if (impl_->problem.status != 0) return Progress::kError;
  return impl_->has_header ? impl_->feed_body(bytes, consumed) : impl_->feed_header(bytes, consumed);
}

void RequestParser::reset() {
  Impl& impl = *impl_;
  impl.request = Request();
  impl.problem = Problem();
  impl.grammar.emplace(impl);
  impl.body = BodyReader();
  impl.authority.clear();
  impl.scanned = 0;
  impl.num_fields = impl.num_blank_lines = 0;
  impl.has_header = impl.is_http_1_0 = impl.is_keep_alive = impl.expects_continue = false;
}

Request& RequestParser::request() { return impl_->request; }
const RequestParser::Problem& RequestParser::problem() const { return impl_->problem; }
bool RequestParser::is_keep_alive() const { return impl_->is_keep_alive; }
bool RequestParser::is_http_1_0() const { return impl_->is_http_1_0; }
bool RequestParser::expects_continue() const { return impl_->expects_continue; }
bool RequestParser::has_body() const { return impl_->has_header && !impl_->body.is_complete(); }

}  // namespace quire::http
