#include "server/http/multipart.h"

#include <gtest/gtest.h>

namespace quire::http {
namespace {

constexpr std::string_view kType = "multipart/form-data; boundary=\"a b\"";

TEST(Multipart, PartsHaveNamesAndAnyBytes) {
  const std::string body =
      "--a b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--a b\r\n"
      "content-type: text/plain\r\nCONTENT-DISPOSITION: form-data; name=file; filename=\"x\\\"y.jsonl\""
      "\r\n\r\n\r\n--a\r\n\r\n\r\n--a b--\r\n";
  const auto parts = parse_form(kType, body);
  ASSERT_TRUE(parts.has_value());
  ASSERT_EQ(parts->size(), 2u);
  EXPECT_EQ((*parts)[0].name, "purpose");
  EXPECT_EQ((*parts)[0].content, "batch");
  EXPECT_EQ((*parts)[1].name, "file");
  EXPECT_EQ((*parts)[1].file_name, "x\"y.jsonl");
  EXPECT_EQ((*parts)[1].content, "\r\n--a\r\n\r\n");
}

TEST(Multipart, WhatIsNoFormIsRefused) {
  const std::string part = "\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\nx\r\n";
  EXPECT_TRUE(parse_form("multipart/form-data; boundary=b", "--b" + part + "--b--").has_value());
  for (const char* type : {"", "application/json", "multipart/form-data", "multipart/form-data; boundary=",
                           "multipart/form-data; boundary", "multipart/form-data; x=\"", "multipart/form-data;"}) {
    EXPECT_FALSE(parse_form(type, "--b" + part + "--b--").has_value()) << type;
  }
  for (const std::string& body :
       {std::string(), std::string("--b"), std::string("--b\r\n"), "--b" + part, "--b" + part + "--b",
        "--b" + part + "--bx", std::string("--b\r\nname=n\r\n\r\nx\r\n--b--"), std::string("--b\r\n\r\n--b--")}) {
    EXPECT_FALSE(parse_form("multipart/form-data; boundary=b", body).has_value()) << body;
  }
  std::string many;
  for (int i = 0; i < 17; ++i) many += "--b" + part;
  EXPECT_FALSE(parse_form("multipart/form-data; boundary=b", many + "--b--").has_value());
}

// Every beginning of a body is read or refused.
TEST(Multipart, CutBodiesEndNowhereElse) {
  const std::string body = "--b\r\nContent-Disposition: form-data; name=\"n\"; filename=\"f\"\r\n\r\nx\r\n--b--";
  for (size_t size = 0; size < body.size(); ++size) {
    EXPECT_EQ(parse_form("multipart/form-data; boundary=b", std::string_view(body).substr(0, size)).has_value(), false)
        << size;
  }
}

}  // namespace
}  // namespace quire::http
