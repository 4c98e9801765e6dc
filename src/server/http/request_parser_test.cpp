#include "server/http/request_parser.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace quire::http {
namespace {

using Progress = RequestParser::Progress;

Limits small_limits() {
  Limits limits;
  limits.body_bytes = 100;
  limits.target_bytes = 64;
  limits.header_bytes = 1000;
  limits.header_fields = 8;
  return limits;
}

struct Parsed {
  int status = 0;  // of the problem; 0: a whole request
  bool is_complete = false;
  Request request;
};

// Passes the text in pieces that end at `cuts`, as a connection would.
Parsed parse(const std::string& text, const std::vector<size_t>& cuts = {}) {
  static const Limits limits = small_limits();
  RequestParser parser(limits);
  Parsed result;
  std::string pending;
  size_t at = 0;
  for (size_t i = 0; i <= cuts.size(); ++i) {
    const size_t end = i < cuts.size() ? cuts[i] : text.size();
    pending += text.substr(at, end - at);
    at = end;
    while (true) {
      size_t consumed = 0;
      const Progress progress = parser.feed(pending, consumed);
      pending.erase(0, consumed);
      if (progress == Progress::kMore) break;
      if (progress == Progress::kHeader) continue;
      result.status = parser.problem().status;
      result.is_complete = progress == Progress::kComplete;
      result.request = std::move(parser.request());
      return result;
    }
  }
  return result;
}

TEST(RequestParser, ReadsARequestWithBody) {
  const Parsed parsed =
      parse("POST /v1/a%20b?x=1&y=%41 HTTP/1.1\r\nHost: localhost\r\nX-Two:  b \r\nContent-Length: 5\r\n\r\nhello");
  ASSERT_TRUE(parsed.is_complete);
  EXPECT_EQ(parsed.request.method, "POST");
  EXPECT_EQ(parsed.request.path, "/v1/a b");
  EXPECT_EQ(parsed.request.query, "x=1&y=%41");
  EXPECT_EQ(parsed.request.header("x-two"), "b");
  EXPECT_EQ(parsed.request.body, "hello");
}

TEST(RequestParser, ReadsChunksAndDropsTrailers) {
  const Parsed parsed = parse(
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nExtra: "
      "1\r\n\r\n");
  ASSERT_TRUE(parsed.is_complete);
  EXPECT_EQ(parsed.request.body, "abcde");
  EXPECT_EQ(parsed.request.header("extra"), "");
}

TEST(RequestParser, TheAbsoluteFormNamesTheHost) {
  const Parsed parsed = parse("GET http://other:1/p?q HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ASSERT_TRUE(parsed.is_complete);
  EXPECT_EQ(parsed.request.path, "/p");
  EXPECT_EQ(parsed.request.header("host"), "other:1");
}

TEST(RequestParser, RefusesAmbiguousFraming) {
  const std::string host = "Host: a\r\n";
  const std::vector<std::string> hostile = {
      "GET / HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
      "GET / HTTP/1.1\r\nHost:\r\nHost: b\r\n\r\n",
      "GET / HTTP/1.1\nHost: a\n\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\n X: 1\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
      std::string("GET / HTTP/1.1\r\nHost: a\r\nX: a") + '\0' + "b\r\n\r\n",
      "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
      "POST / HTTP/1.1\r\n" + host + "Content-Length: 3, 3\r\n\r\nabc",
      "POST / HTTP/1.1\r\n" + host + "Content-Length: +3\r\n\r\nabc",
      "POST / HTTP/1.1\r\n" + host + "Content-Length: -3\r\n\r\nabc",
      "POST / HTTP/1.1\r\n" + host + "Content-Length: 0x3\r\n\r\nabc",
      "POST / HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999\r\n\r\nabc",
      "POST / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
      "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0000000000000000003\r\nabc\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\nbad trailer\r\n\r\n",
      "GET /%00 HTTP/1.1\r\n" + host + "\r\n",
      "GET /%zz HTTP/1.1\r\n" + host + "\r\n",
      "GET /%2 HTTP/1.1\r\n" + host + "\r\n",
      "GET /a#b HTTP/1.1\r\n" + host + "\r\n",
      "GET * HTTP/1.1\r\n" + host + "\r\n",
      "CONNECT a:1 HTTP/1.1\r\n" + host + "\r\n",
      "GET  / HTTP/1.1\r\n" + host + "\r\n",
      "GET / HTTP/2.0\r\n" + host + "\r\n",
      "GET /\r\n" + host + "\r\n",
      "\x16\x03\x01\x02\r\n\r\n",
  };
  for (const std::string& text : hostile) EXPECT_EQ(parse(text).status, 400) << text;
  EXPECT_EQ(parse("POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n").status, 501);
  EXPECT_EQ(parse("POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: identity\r\n\r\n").status, 501);
  EXPECT_EQ(parse("POST / HTTP/1.1\r\n" + host + "Expect: tea\r\n\r\n").status, 417);
}

TEST(RequestParser, EachLimitHasItsStatus) {
  const std::string end = " HTTP/1.1\r\nHost: a\r\n";
  EXPECT_TRUE(parse("GET /" + std::string(63, 'a') + end + "\r\n").is_complete);
  EXPECT_EQ(parse("GET /" + std::string(64, 'a') + end + "\r\n").status, 414);
  EXPECT_EQ(parse("GET /" + std::string(500, 'a')).status, 414);  // before its end has arrived
  EXPECT_EQ(parse("GET /" + end + "X: " + std::string(1000, 'a') + "\r\n\r\n").status, 431);
  EXPECT_EQ(parse("GET /" + end + "X: " + std::string(1000, 'a')).status, 431);
  std::string many;
  for (int i = 0; i < 7; ++i) many += "X: 1\r\n";
  EXPECT_TRUE(parse("GET /" + end + many + "\r\n").is_complete);
  EXPECT_EQ(parse("GET /" + end + many + "X: 1\r\n\r\n").status, 431);
  EXPECT_TRUE(parse("POST /" + end + "Content-Length: 100\r\n\r\n" + std::string(100, 'b')).is_complete);
  EXPECT_EQ(parse("POST /" + end + "Content-Length: 101\r\n\r\n").status, 413);  // before its body has arrived
  EXPECT_EQ(parse("POST /" + end + "Transfer-Encoding: chunked\r\n\r\n65\r\n").status, 413);
  EXPECT_EQ(parse("POST /" + end + "Transfer-Encoding: chunked\r\n\r\n1;" + std::string(20'000, 'x')).status, 400);
}

TEST(RequestParser, SplittingTheBytesChangesNothing) {
  const std::vector<std::string> texts = {
      "\r\nPOST /p?q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0a\r\n0123456789\r\n0\r\nT: "
      "1\r\n\r\n",
      "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: 1\r\n\r\n",
      "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nabcdefghijkl",
      "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcdefghijkl",
      "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
  };
  std::mt19937 random(7);
  for (const std::string& text : texts) {
    const Parsed whole = parse(text);
    for (int round = 0; round < 500; ++round) {
      std::vector<size_t> cuts;
      for (size_t at = 0; at < text.size();) cuts.push_back(at = std::min(text.size(), at + 1 + random() % 9));
      const Parsed cut = parse(text, cuts);
      ASSERT_EQ(cut.is_complete, whole.is_complete);
      ASSERT_EQ(cut.status, whole.status);
      ASSERT_EQ(cut.request.body, whole.request.body);
      ASSERT_EQ(cut.request.headers, whole.request.headers);
    }
  }
}

}  // namespace
}  // namespace quire::http
