#include "server/listener.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <latch>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/json.h"
#include "server/access/auth.h"
#include "server/access/origin_policy.h"
#include "server/apis/apis.h"
#include "server/endpoints/routes.h"
#include "server/http/test_client.h"
#include "server/metrics/metrics.h"
#include "server/openapi/openapi.h"
#include "server/web/web_assets.h"

namespace quire {
namespace {

using http::test::ask;
using http::test::body_of;
using http::test::field_of;
using http::test::status_of;

// The listener without a model, as it is while one is loaded.
struct Served {
  explicit Served(ListenerOptions options = {}) {
    context.metrics = &metrics;
    if (options.addresses.empty()) options.addresses = {{"127.0.0.1", 0}};
    listener = std::make_unique<Listener>(context, std::move(options));
    port = listener->addresses().front().port;
  }
  std::string get(const std::string& path, const std::string& fields = "") const { return send("GET", path, fields); }
  std::string send(const std::string& method, const std::string& path, const std::string& fields = "") const {
    return ask(port, method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n");
  }

  Metrics metrics;
  ServerContext context;
  std::unique_ptr<Listener> listener;
  uint16_t port = 0;
};

ServedModel card(const char* id, std::vector<std::string> aliases = {}) {
  ServedModel model;
  model.card.id = id;
  model.card.aliases = std::move(aliases);
  model.card.root = std::string(id) + "-root";
  return model;
}

// A path of the pattern: slashes in braces that end it, none in others.
std::string concrete(std::string_view pattern) {
  const size_t brace = pattern.find('{');
  if (brace == std::string_view::npos) return std::string(pattern);
  const std::string_view rest = pattern.substr(pattern.find('}') + 1);
  return std::string(pattern.substr(0, brace)) + (rest.empty() ? "some/name" : "name") + std::string(rest);
}

TEST(Routes, UnknownPathsAndMethodsAreTold) {
  const Served served;
  EXPECT_EQ(status_of(served.get("/nothing")), 404);
  const std::string wrong = served.send("DELETE", "/v1/models");
  EXPECT_EQ(status_of(wrong), 405);
  EXPECT_EQ(field_of(wrong, "Allow"), "GET, HEAD, OPTIONS");
  EXPECT_EQ(status_of(served.send("OPTIONS", "/v1/models")), 204);
  EXPECT_EQ(status_of(served.send("OPTIONS", "*")), 204);
}

TEST(Routes, PathsAsClientsWriteThem) {
  for (const Route& route : routes()) {
    const std::string path = concrete(route.pattern);
    const std::string bare = path.starts_with("/v1") ? path.substr(3) : path;
    for (const std::string& written : {path, path + "/", path + "//", bare, bare + "/", "/v1" + bare, "/v1" + path,
                                       "/openai" + path, "/openai/deployments/a-b" + bare}) {
      EXPECT_EQ(canonical_path(written, ""), path);
      EXPECT_EQ(canonical_path("/llm/a" + written, "/llm/a"), path);
      EXPECT_EQ(canonical_path(written, "/llm/a"), path) << "a proxy that takes its prefix away";
    }
  }
  EXPECT_EQ(canonical_path("/", ""), "/");
  EXPECT_EQ(canonical_path("/llm", "/llm"), "/");
  EXPECT_EQ(canonical_path("/llmhealth", "/llm"), "/llmhealth");
  EXPECT_EQ(canonical_path("/nothing/", ""), "/nothing/");
  for (const char* other : {"//health", "/v1//health", "/V1/health", "/HEALTH", "/v1health", "/v1", "/v1/", "/openai",
                            "/openai/nothing", "/openai/deployments/a", "/openai/deployments/a/b"}) {
    EXPECT_EQ(canonical_path(other, ""), other);
  }
  EXPECT_EQ(canonical_path("*", ""), "*");

  ListenerOptions options;
  options.root_path = "/llm/";
  Served served(std::move(options));
  served.context.models.add(card("tiny", {"small", "org/tiny"}));
  served.context.state = ServerState::kReady;
  EXPECT_EQ(status_of(served.get("/llm/health/")), 200);
  EXPECT_EQ(status_of(served.get("/llm/")), 200);
  const std::string moved = served.get("/llm");
  EXPECT_EQ(status_of(moved), 308);
  EXPECT_EQ(field_of(moved, "Location"), "/llm/");
  const json::object list = parse_json(body_of(served.get("/llm/models/")), "models").as_object();
  std::vector<std::string> names;
  for (const json::value& model : list.at("data").as_array()) names.emplace_back(model.at("id").as_string());
  EXPECT_EQ(names, (std::vector<std::string>{"tiny", "small", "org/tiny"}));
  names.emplace_back("tiny-root");
  for (const std::string& name : names) EXPECT_EQ(status_of(served.get("/models/" + name)), 200) << name;
  EXPECT_EQ(status_of(served.get("/models/other")), 404);
  const json::object openapi = parse_json(body_of(served.get("/openapi.json")), "openapi").as_object();
  EXPECT_EQ(json::serialize(openapi.at("servers")), R"([{"url":"/llm"}])");

  for (const char* path : {"llm", "//llm", "/a//b", "/a b", "/\\llm", "/a?b"}) {
    ListenerOptions bad;
    bad.root_path = path;
    EXPECT_THROW(Served{std::move(bad)}, Error) << path;
  }
}

TEST(Routes, BodiesOfOtherCodingsAreRefusedUnread) {
  const Served served;
  for (const char* coding : {"zstd", "br", "identity, gzip"}) {
    const std::string reply =
        ask(served.port, std::string("POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: ") + coding +
                             "\r\nContent-Length: 1000\r\n\r\n");
    EXPECT_EQ(status_of(reply), 415) << coding;
    EXPECT_EQ(field_of(reply, "Accept-Encoding"), "gzip, deflate, identity");
    EXPECT_NE(body_of(reply).find("gzip, deflate, identity"), std::string::npos);
  }
  EXPECT_EQ(status_of(ask(served.port,
                          "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: identity\r\n"
                          "Content-Length: 2\r\n\r\n{}")),
            503);
}

TEST(Routes, HealthFollowsTheState) {
  Served served;
  const std::string loading = served.get("/health");
  EXPECT_EQ(status_of(loading), 503);
  EXPECT_EQ(field_of(loading, "Retry-After"), "1");
  EXPECT_EQ(status_of(served.get("/livez")), 200);
  EXPECT_EQ(status_of(served.get("/v1/models")), 503);
  ServedModel tiny = card("tiny");
  tiny.default_sampling.top_k = 17;
  tiny.card.max_model_len = 256;
  tiny.card.trained_context = 8192;
  served.context.models.add(std::move(tiny));
  served.context.state = ServerState::kReady;
  EXPECT_EQ(status_of(served.get("/health")), 200);
  EXPECT_EQ(status_of(served.get("/readyz")), 200);
  EXPECT_EQ(status_of(served.get("/v1/models")), 200);
  const std::string model = body_of(served.get("/v1/models/tiny"));
  for (const char* member : {R"("top_k":17)", R"("max_model_len":256)", R"("n_ctx_train":8192)"}) {
    EXPECT_NE(model.find(member), std::string::npos) << model;
  }
  EXPECT_EQ(status_of(served.get("/v1/models/other")), 404);
  served.context.state = ServerState::kDraining;
  EXPECT_EQ(status_of(served.get("/readyz")), 503);
  EXPECT_EQ(status_of(served.get("/livez")), 200);
}

// Holds every worker until it is opened.
struct Gate {
  explicit Gate(const Served& served) {
    for (int i = 0; i < num_workers; ++i) {
      EXPECT_TRUE(served.listener->workers().submit({"gate " + std::to_string(i), 0, [this, open = opened] {
                                                       held.count_down();
                                                       open.wait();
                                                     }}));
    }
    held.wait();
  }
  ~Gate() { gate.set_value(); }

  const int num_workers = ListenerOptions().num_workers;
  std::latch held{num_workers};
  std::promise<void> gate;
  std::shared_future<void> opened = gate.get_future().share();
};

std::string post(const std::string& path, const std::string& fields = "", const std::string& body = "{}") {
  return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\n" + fields +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

void wait_for_queued(const Served& served, int count) {
  while (served.listener->workers().num_queued() != count) std::this_thread::yield();
}

TEST(Workers, WhatABodyCostsKeepsNothingElseWaiting) {
  ListenerOptions options;
  options.num_threads = 1;
  const Served served(std::move(options));
  auto gate = std::make_unique<Gate>(served);
  std::vector<std::pair<std::unique_ptr<http::test::Client>, int>> waiting;  // and the status they will get
  int num_heavy = 0;
  for (const Route& route : routes()) {
    if (route.runs == Runs::kInline) {
      EXPECT_NE(status_of(served.get(concrete(route.pattern))), 0) << route.pattern;
      continue;
    }
    // The model is not loaded, there is no store of batches, and no response was stored.
    const bool is_batch = route.pattern.starts_with("/v1/files") || route.pattern.starts_with("/v1/batches");
    const bool is_stored = route.pattern.starts_with("/v1/responses/{");
    waiting.emplace_back(std::make_unique<http::test::Client>(served.port), is_batch ? 501 : is_stored ? 404 : 503);
    waiting.back().first->send(fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}",
                                           route.method, concrete(route.pattern)));
    wait_for_queued(served, ++num_heavy);
  }
  EXPECT_GE(num_heavy, 5);
  EXPECT_EQ(status_of(served.get("/livez")), 200);
  const std::string text = served.context.metrics->exposition({});
  EXPECT_NE(text.find("quire:http_requests_queued " + std::to_string(num_heavy)), std::string::npos);
  gate.reset();
  for (const auto& [client, status] : waiting) EXPECT_EQ(status_of(client->read_reply()), status);
}

TEST(Workers, AClientThatLeavesTakesItsWorkAlong) {
  const Served served;
  auto gate = std::make_unique<Gate>(served);
  auto client = std::make_unique<http::test::Client>(served.port);
  client->send(post("/tokenize"));
  wait_for_queued(served, 1);
  client.reset();
  wait_for_queued(served, 0);
  const std::string text = served.context.metrics->exposition({});
  EXPECT_NE(text.find("quire:client_disconnects_total 1\n"), std::string::npos);
  gate.reset();
}

TEST(Workers, AFullQueueIsToldBeforeAnythingIsRead) {
  Served served;
  served.listener.reset();
  served.context.limits.worker_queue_requests = 2;
  ListenerOptions options;
  options.addresses = {{"127.0.0.1", 0}};
  options.api_keys = {"one", "two"};
  served.listener = std::make_unique<Listener>(served.context, std::move(options));
  served.port = served.listener->addresses().front().port;
  auto gate = std::make_unique<Gate>(served);
  http::test::Client first(served.port);
  first.send(post("/tokenize", "x-api-key: one\r\n"));
  wait_for_queued(served, 1);
  const std::string refused = ask(served.port, post("/tokenize", "x-api-key: one\r\n"));
  EXPECT_EQ(status_of(refused), 429) << "one key gets half of the queue";
  EXPECT_NE(body_of(refused).find("\"workers_busy\""), std::string::npos);
  EXPECT_EQ(field_of(refused, "Retry-After"), "1");
  http::test::Client second(served.port);
  second.send(post("/tokenize", "x-api-key: two\r\n"));
  wait_for_queued(served, 2);
  gate.reset();
  EXPECT_EQ(status_of(first.read_reply()), 503);
  EXPECT_EQ(status_of(second.read_reply()), 503);
}

TEST(Drain, LoadBalancersAreToldBeforeTheDoorCloses) {
  Served served;
  served.context.models.add(card("tiny"));
  served.context.state = ServerState::kReady;
  served.listener->leave();
  const std::string ready = served.get("/readyz");
  EXPECT_EQ(status_of(ready), 503);
  EXPECT_EQ(field_of(ready, "Retry-After"), "1");
  for (const char* path : {"/livez", "/health", "/v1/models"}) {
    EXPECT_EQ(status_of(served.get(path)), 200) << path << ": who still comes is served";
  }
}

TEST(Drain, AWholeAnswerThatIsCutSaysWhenToComeBack) {
  const Served served;
  http::test::Client client(served.port);
  auto gate = std::make_unique<Gate>(served);
  client.send(post("/tokenize"));
  wait_for_queued(served, 1);
  std::thread drain([&] { served.listener->drain(std::chrono::milliseconds(10)); });
  const std::string reply = client.read_all();
  EXPECT_EQ(status_of(reply), 503);
  EXPECT_NE(body_of(reply).find("\"type\":\"draining\""), std::string::npos);
  EXPECT_EQ(field_of(reply, "Retry-After"), "1");
  EXPECT_EQ(field_of(reply, "x-should-retry"), "true");
  client.close();
  drain.join();
  EXPECT_EQ(served.listener->workers().num_queued(), 0);
}

TEST(Auth, EveryRouteNeedsAKeyButThosePublicByName) {
  ListenerOptions options;
  options.api_keys = {"right-key", "other-key"};
  const Served served(std::move(options));
  std::map<const ErrorForm*, std::string> refusals;
  for (const Route& route : routes()) {
    std::string& refusal = refusals[&route.errors];
    const bool is_public = route.pattern == "/health" || route.pattern == "/livez" || route.pattern == "/readyz";
    const std::string method(route.method);
    const std::string path = concrete(route.pattern);
    for (const char* fields :
         {"", "Authorization: Bearer wrong\r\n", "Authorization: Bearer\r\n", "x-api-key: right\r\n",
          "api-key: right\r\n", "Authorization: Basic right-key\r\n", "Authorization: Bearer right-key2\r\n"}) {
      const std::string reply = served.send(method, path, fields);
      EXPECT_EQ(status_of(reply) == 401, !is_public) << route.pattern << " " << fields;
      if (is_public) continue;
      if (refusal.empty()) refusal = body_of(reply);
      EXPECT_EQ(body_of(reply), refusal) << "missing and wrong keys look the same";
    }
    const std::string escaped = path.substr(0, path.size() - 1) + fmt::format("%{:02x}", path.back());
    for (const std::string& written : {path + "/", "/v1" + path, escaped, path + "?x=/health", "//" + path}) {
      const bool is_open = is_public && !written.starts_with("//");
      EXPECT_EQ(status_of(served.send(method, written)) == 401, !is_open) << written;
    }
    for (const char* fields : {"Authorization: Bearer right-key\r\n", "authorization: bearer other-key\r\n",
                               "x-api-key: other-key\r\n", "api-key: right-key\r\n"}) {
      EXPECT_NE(status_of(served.send(method, path, fields)), 401) << route.pattern << " " << fields;
    }
  }
  EXPECT_EQ(status_of(served.get("/nothing")), 401) << "not even what exists is told";
}

TEST(Auth, IsRefusedBeforeTheBodyIsRead) {
  ListenerOptions options;
  options.api_keys = {"k"};
  const Served served(std::move(options));
  const std::string reply =
      ask(served.port, "POST /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n");
  EXPECT_EQ(status_of(reply), 401);
  EXPECT_EQ(field_of(reply, "Connection"), "close");
}

TEST(Auth, TenantsDifferByKeyAndNameNoKey) {
  ApiKeys keys({"one", "two"}, "");
  const auto tenant = [&](const char* key) {
    http::Request request;
    request.headers = {{"x-api-key", key}};
    return keys.check(request);
  };
  ASSERT_TRUE(tenant("one"));
  EXPECT_EQ(tenant("one"), tenant("one"));
  EXPECT_NE(tenant("one"), tenant("two"));
  EXPECT_FALSE(tenant("three"));
  ApiKeys again({"one"}, "");
  http::Request request;
  request.headers = {{"x-api-key", "one"}};
  EXPECT_NE(again.check(request), tenant("one")) << "the secret is another in each process";
}

TEST(Auth, TheKeyFileIsReadAgainWhenItChanges) {
  const std::string path = std::filesystem::temp_directory_path() / ("quire-keys-" + std::to_string(::getpid()));
  const auto write = [&](const char* text) { std::ofstream(path) << text; };
  write("# keys\nalice:first\n");
  ApiKeys keys({}, path);
  const auto is_right = [&](const char* key) {
    http::Request request;
    request.headers = {{"x-api-key", key}};
    return keys.check(request).has_value();
  };
  EXPECT_TRUE(is_right("first"));
  EXPECT_FALSE(is_right("alice:first"));
  write("second\n");
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!is_right("second") && std::chrono::steady_clock::now() < patience) std::this_thread::yield();
  EXPECT_TRUE(is_right("second"));
  EXPECT_FALSE(is_right("first"));
  std::filesystem::remove(path);
  EXPECT_THROW(ApiKeys({}, path), Error);
}

struct PolicyCase {
  const char* host;
  const char* origin;
  bool is_allowed;
};

bool is_allowed(const OriginPolicy& policy, const PolicyCase& test) {
  http::Request request;
  request.method = "POST";
  request.headers = {{"host", test.host}};
  if (*test.origin != '\0') request.headers.emplace_back("origin", test.origin);
  http::Headers headers;
  try {
    return !policy.check(request, headers).has_value();
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status(), 403);
    return false;
  }
}

TEST(OriginPolicy, LoopbackHasManyNames) {
  for (const char* name : {"localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "0:0:0:0:0:0:0:1"}) {
    EXPECT_TRUE(is_loopback_name(name)) << name;
  }
  for (const char* name : {"", "127.example", "localhost.example", "0.0.0.0", "::", "::2", "128.0.0.1"}) {
    EXPECT_FALSE(is_loopback_name(name)) << name;
  }
}

TEST(OriginPolicy, HostAndOriginOnLoopback) {
  const OriginPolicy policy({.is_loopback = true, .allowed_hosts = {"llm.example"}});
  const PolicyCase cases[] = {
      {"localhost", "", true},
      {"localhost:8080", "", true},
      {"LOCALHOST.:1", "", true},
      {"app.localhost", "", true},
      {"127.0.0.1:8080", "", true},
      {"[::1]:8080", "", true},
      {"[0:0:0:0:0:0:0:1]", "", true},
      {"llm.example:443", "", true},
      {"LLM.example.", "", true},
      {"", "", false},
      {"evil.example", "", false},
      {"localhost.evil.example", "", false},
      {"evillocalhost", "", false},
      {"127.0.0.1.nip.io", "", false},
      {"127.0.0.1:80:90", "", false},
      {"10.0.0.1", "", false},
      {"localhost:", "", false},
      {"localhost:8a", "", false},
      {"[::1", "", false},
      {"[::2]", "", false},
      {"2130706433", "", false},
      {"a@localhost", "", false},
      {"localhost:8080", "http://localhost:8080", true},
      {"localhost:8080", "https://LOCALHOST:8080", true},
      {"localhost:8080", "http://localhost:9090", false},
      {"localhost:8080", "http://localhost", false},
      {"localhost:8080", "http://127.0.0.1:8080", false},
      {"localhost:8080", "https://evil.example", false},
      {"localhost:8080", "null", false},
      {"localhost:8080", "file://", false},
      {"localhost:8080", "http://localhost:8080.evil.example", false},
      {"localhost:8080", "http://evil.example#localhost:8080", false},
  };
  for (const PolicyCase& test : cases) {
    EXPECT_EQ(is_allowed(policy, test), test.is_allowed) << "host " << test.host << ", origin " << test.origin;
  }
}

TEST(OriginPolicy, OtherBindsTakeAnyHostUnlessNamesAreGiven) {
  EXPECT_TRUE(is_allowed(OriginPolicy({}), {"anything.example", "", true}));
  EXPECT_FALSE(is_allowed(OriginPolicy({.allowed_hosts = {"llm.example"}}), {"anything.example", "", true}));
  EXPECT_THROW(OriginPolicy({.cors_origins = {"chat.example"}}), Error);
}

TEST(OriginPolicy, OriginsOfAnySchemeAndWildcards) {
  struct Case {
    const char* pattern;
    std::vector<const char*> allowed;
    std::vector<const char*> refused;
  };
  const Case cases[] = {
      {"https://chat.example",
       {"https://chat.example", "HTTPS://Chat.Example"},
       {"http://chat.example", "https://chat.example:8443", "https://a.chat.example", "null"}},
      {"https://chat.example:443/", {"https://chat.example"}, {"https://chat.example:80"}},
      {"app://obsidian.md", {"app://obsidian.md"}, {"app://obsidian.md.evil", "https://obsidian.md"}},
      {"chrome-extension://abcdefgh", {"chrome-extension://abcdefgh"}, {"chrome-extension://abcdefgi"}},
      {"chrome-extension://*", {"chrome-extension://abcdefgh"}, {"moz-extension://abcdefgh", "chrome-extension://a:1"}},
      {"null", {"null"}, {"https://null", "file://", ""}},
      {"file://", {"file://"}, {"null", "file://host"}},
      {"http://localhost:*",
       {"http://localhost", "http://localhost:3000"},
       {"https://localhost:3000", "http://localhost.evil:3000", "http://localhost:*", "http://localhost:3000@evil"}},
      {"https://*.example",
       {"https://a.example", "https://a.b.example"},
       {"https://example", "https://evilexample", "https://a.example:8443", "https://a.example.evil"}},
      {"http://[::1]:3000", {"http://[::1]:3000"}, {"http://[::1]", "http://[::2]:3000"}},
      {"http://[::1]", {"http://[::1]"}, {"http://[::1]:3000"}},
      {"*", {"null", "https://anything.example", "file://"}, {}},
  };
  for (const Case& test : cases) {
    const OriginPolicy policy({.cors_origins = {test.pattern}});
    for (const char* origin : test.allowed) {
      EXPECT_TRUE(is_allowed(policy, {"llm.example", origin, true})) << test.pattern << " and " << origin;
    }
    for (const char* origin : test.refused) {
      if (*origin == '\0') continue;
      EXPECT_FALSE(is_allowed(policy, {"llm.example", origin, false})) << test.pattern << " and " << origin;
    }
  }
  for (const char* bad :
       {"", "chat.example", "https://", "https://a/path", "https://a?b", "https://u@a", "https://a:b",
        "https://a:", "https://a*", "https://a.*", "*://a", "1app://a", "http://[::1", "https://a b"}) {
    EXPECT_THROW(OriginPolicy({.cors_origins = {bad}}), Error) << bad;
  }
}

TEST(OriginPolicy, HostIsNoMatterWhereNoBrowserComes) {
  const OriginPolicy policy({.is_loopback = true, .allowed_hosts = {"llm.example"}});
  http::Headers headers;
  http::Request request;
  request.headers = {{"host", "quire"}};
  EXPECT_THROW(policy.check(request, headers), ApiError) << "a TCP client with a foreign name";
  request.remote = http::kUnixPeer;
  EXPECT_FALSE(policy.check(request, headers)) << "a Unix socket";
  request.remote = "127.0.0.1";
  request.headers.clear();
  EXPECT_FALSE(policy.check(request, headers)) << "HTTP/1.0 without Host";
}

TEST(OriginPolicy, PreflightsListWhatClientsSend) {
  ListenerOptions options;
  options.cors_origins = {"https://chat.example/"};
  options.api_keys = {"key"};
  const Served served(std::move(options));
  const std::string fields =
      "Origin: https://chat.example\r\nAccess-Control-Request-Method: POST\r\n"
      "Access-Control-Request-Headers: authorization, x-stainless-os,,X-Stainless-Arch, openai-beta,\ttraceparent, bad "
      "name, "
      "b@d\r\nAccess-Control-Request-Private-Network: true\r\n";
  const std::string reply = served.send("OPTIONS", "/v1/models", fields);
  EXPECT_EQ(status_of(reply), 204) << "a preflight carries no key";
  EXPECT_EQ(field_of(reply, "Access-Control-Allow-Origin"), "https://chat.example");
  EXPECT_EQ(field_of(reply, "Vary"), "Origin");
  const std::string allowed = field_of(reply, "Access-Control-Allow-Headers");
  for (const char* name : {"authorization", "content-type", "x-api-key", "x-request-id", "x-stainless-os",
                           "x-stainless-arch", "openai-beta", "traceparent"}) {
    EXPECT_NE(allowed.find(name), std::string::npos) << name;
  }
  EXPECT_EQ(allowed.find("bad name"), std::string::npos);
  EXPECT_EQ(allowed.find("b@d"), std::string::npos);
  EXPECT_EQ(field_of(reply, "Access-Control-Allow-Private-Network"), "true");
  const std::string read = served.get("/v1/models", "Origin: https://chat.example\r\n");
  EXPECT_EQ(status_of(read), 401);
  EXPECT_EQ(field_of(read, "Access-Control-Allow-Origin"), "https://chat.example") << "the page may see the error";
  EXPECT_EQ(status_of(served.get("/health", "Origin: https://evil.example\r\n")), 403);
}

TEST(OpenApi, DescribesEveryRouteAndNamesOnlyWhatItDefines) {
  const json::object document = openapi_document(Limits(), "");
  const json::object& paths = document.at("paths").as_object();
  for (const Route& route : routes()) EXPECT_TRUE(paths.contains(route.pattern)) << route.pattern;
  const std::string text = json::serialize(document);
  constexpr std::string_view kReference = "\"$ref\":\"#/components/";
  for (size_t at = text.find(kReference); at != std::string::npos; at = text.find(kReference, at + 1)) {
    const size_t begin = at + kReference.size();
    const std::string pointer = "/components/" + text.substr(begin, text.find('"', begin) - begin);
    boost::system::error_code error;
    EXPECT_NE(json::value(document).find_pointer(pointer, error), nullptr) << pointer;
  }
}

// The requests are those of the field tables: each field with a type, a range or a shape, and what it means.
TEST(OpenApi, RequestsHaveTheFieldsOfTheTables) {
  const json::object document = openapi_document(Limits(), "");
  const json::object& schemas = document.at("components").at("schemas").as_object();
  for (const Api* const api : apis()) {
    const json::object& schema = schemas.at(api->schema).as_object();
    const json::object& properties = schema.at("properties").as_object();
    EXPECT_EQ(properties.size(), api->fields.size()) << api->name << " has a field twice";
    for (const Field& field : api->fields) {
      ASSERT_TRUE(properties.contains(field.name)) << api->name << " " << field.name;
      const json::object& property = properties.at(field.name).as_object();
      EXPECT_FALSE(property.at("description").as_string().empty()) << field.name;
      const bool is_free = field.type == FieldType::kIgnored || field.type == FieldType::kRefused;
      EXPECT_EQ(property.contains("anyOf"), !is_free) << field.name;
    }
    EXPECT_TRUE(api->required.empty() || properties.contains(api->required)) << api->name;
    EXPECT_NE(json::serialize(document.at("paths")).find("/" + std::string(api->schema) + "\""), std::string::npos)
        << "no path names " << api->schema;
  }
  const json::object& chat = schemas.at("ChatRequest").at("properties").as_object();
  EXPECT_EQ(json::serialize(chat.at("n").at("anyOf").at(0)), R"({"type":"integer","minimum":1,"maximum":128})");
  EXPECT_EQ(json::serialize(chat.at("timeout").at("anyOf").at(0)),
            R"({"type":"number","exclusiveMinimum":0E0,"maximum":8.64E4})");
  EXPECT_TRUE(chat.at("stream_options").at("anyOf").at(0).at("properties").as_object().contains("include_usage"));
}

TEST(Metrics, CountsWhatWasServed) {
  const Served served;
  EXPECT_EQ(status_of(served.get("/livez")), 200);
  Metrics& metrics = *served.context.metrics;
  metrics.add_rejected("queue_full");
  const ModelMetrics other;
  ModelMetrics model;
  model.add_finished({.reason = FinishReason::kStop,
                      .prompt_tokens = 10,
                      .cached_tokens = 4,
                      .generated_tokens = 3,
                      .ttft_s = 0.05,
                      .prefill_s = 0.04,
                      .decode_s = 0.2,
                      .e2e_s = 0.25});
  EngineStatus engine;
  engine.num_drafts = 3;
  engine.draft_tokens = 12;
  engine.accepted_tokens = 5;
  engine.accepted_by_position[1] = 2;
  const Metrics::ModelPart parts[] = {{"m\"x", model, engine}, {"other", other, EngineStatus()}};
  const std::string text = metrics.exposition(parts);
  for (const char* line : {"quire:http_requests_total{method=\"GET\",route=\"/livez\",status=\"200\"} 1",
                           "quire:requests_rejected_total{reason=\"queue_full\"} 1",
                           "vllm:request_success_total{model_name=\"m\\\"x\",engine=\"0\",finished_reason=\"stop\"} 1",
                           "vllm:request_success_total{model_name=\"other\",engine=\"0\",finished_reason=\"stop\"} 0",
                           "vllm:num_requests_running{model_name=\"other\",engine=\"0\"} 0",
                           "vllm:time_to_first_token_seconds_bucket{model_name=\"m\\\"x\",engine=\"0\",le=\"0.04\"} 0",
                           "vllm:time_to_first_token_seconds_bucket{model_name=\"m\\\"x\",engine=\"0\",le=\"0.06\"} 1",
                           "vllm:time_to_first_token_seconds_bucket{model_name=\"m\\\"x\",engine=\"0\",le=\"+Inf\"} 1",
                           "vllm:request_time_per_output_token_seconds_sum{model_name=\"m\\\"x\",engine=\"0\"} 0.1",
                           "vllm:spec_decode_num_drafts_total{model_name=\"m\\\"x\",engine=\"0\"} 3",
                           "vllm:spec_decode_num_draft_tokens_total{model_name=\"m\\\"x\",engine=\"0\"} 12",
                           "vllm:spec_decode_num_accepted_tokens_total{model_name=\"m\\\"x\",engine=\"0\"} 5",
                           "vllm:spec_decode_num_accepted_tokens_per_pos_total{model_name=\"m\\\"x\",engine=\"0\","
                           "position=\"1\"} 2",
                           "vllm:request_prefill_kv_computed_tokens_sum{model_name=\"m\\\"x\",engine=\"0\"} 6"}) {
    EXPECT_NE(text.find(std::string(line) + "\n"), std::string::npos) << line;
  }
  // A family is told once, with the samples of all models in one place.
  std::set<std::string> families;
  std::istringstream lines(text);
  std::string family;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# HELP ")) {
      family = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(families.insert(family).second) << family;
    } else if (!line.starts_with("#")) {
      EXPECT_TRUE(line.starts_with(family)) << line << " under " << family;
    }
  }
}

TEST(ServedModels, ANameIsOneModels) {
  ServedModels models;
  models.add(card("a", {"b"}));
  EXPECT_THROW(models.add(card("b")), Error);
  EXPECT_THROW(models.add(card("c", {"a"})), Error);
  EXPECT_THROW(models.add(card("c", {"d", "c"})), Error);
  models.add(card("a-root"));
  EXPECT_EQ(models.find("a-root")->card.id, "a-root") << "a name comes before a root";
  EXPECT_EQ(models.find("")->card.id, "a");
  EXPECT_EQ(models.find("c"), nullptr);
}

TEST(Errors, HaveTheFormOfTheirApi) {
  const Served served;
  const auto error = [&](const std::string& method, const std::string& path) {
    return json::serialize(parse_json(body_of(served.send(method, path)), "error").as_object().at("error"));
  };
  EXPECT_EQ(error("GET", "/v1/models"),
            R"({"message":"the model is still loading; try again in a moment","type":"unavailable_error","param":null,)"
            R"("code":"model_loading"})");
  EXPECT_EQ(error("GET", "/tokenizer_info"),
            R"({"code":503,"message":"the model is still loading; try again in a moment","type":"model_loading"})");
  EXPECT_EQ(error("GET", "/tokenize"),
            R"({"code":405,"message":"method not allowed; allowed here: POST, OPTIONS","type":"method_not_allowed"})");
}

TEST(WebPage, FilesCarryAStrictPolicyAndATag) {
  const Served served;
  ListenerOptions options;
  options.has_web_page = false;
  const Served without(std::move(options));
  for (const WebAsset& asset : web_assets()) {
    const std::string path(asset.path);
    const std::string reply = served.get(path);
    EXPECT_EQ(status_of(reply), 200) << path;
    EXPECT_EQ(body_of(reply), asset.body);
    EXPECT_TRUE(field_of(reply, "Content-Security-Policy").starts_with("default-src 'none'"));
    const std::string tag = field_of(reply, "ETag");
    EXPECT_EQ(status_of(served.get(path, "If-None-Match: " + tag + "\r\n")), 304);
    EXPECT_EQ(status_of(without.get(path)), 404);
  }
}

TEST(WebPage, ClientsThatShowNoPageReadThatOllamaRuns) {
  const Served served;
  EXPECT_EQ(body_of(served.get("/", "Accept: application/json\r\n")), "Ollama is running");
  for (const char* accepted : {"", "Accept: */*\r\n", "Accept: text/html,application/xhtml+xml\r\n"}) {
    EXPECT_NE(served.get("/", accepted).find("<html"), std::string::npos) << accepted;
  }
}

}  // namespace
}  // namespace quire
