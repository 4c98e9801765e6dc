// Offline jobs: /v1/batches, /v1/batches/{id}, /v1/batches/{id}/cancel.

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/json.h"
#include "server/answers/prompts.h"
#include "server/batches/store.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/list_page.h"
#include "server/schema/field_error.h"

namespace quire {
namespace {

constexpr std::string_view kPath = "/v1/batches/", kCancel = "/cancel";
// Whose handlers may answer a line.
constexpr std::array<std::string_view, 4> kEndpoints = {"/v1/chat/completions", "/v1/completions", "/v1/embeddings",
                                                        "/v1/responses"};

json::value time_or_null(int64_t time) { return time > 0 ? json::value(time) : json::value(nullptr); }
json::value id_or_null(const std::string& id) {
  return id.empty() ? json::value(nullptr) : json::value(json::string(id));
}

json::object batch_json(const BatchJob& batch) {
  const auto ended_as = [&](BatchStatus status) { return time_or_null(batch.status == status ? batch.ended_at : 0); };
  json::value errors = nullptr;
  if (!batch.errors.empty()) errors = json::object{{"object", "list"}, {"data", parse_json(batch.errors, "errors")}};
  return {{"id", batch.id},
          {"object", "batch"},
          {"endpoint", batch.endpoint},
          {"errors", std::move(errors)},
          {"input_file_id", batch.input_file},
          {"completion_window", "24h"},
          {"status", name(batch.status)},
          {"output_file_id", id_or_null(batch.output_file)},
          {"error_file_id", id_or_null(batch.error_file)},
          {"created_at", batch.created},
          {"in_progress_at", time_or_null(batch.in_progress_at)},
          {"expires_at", batch.expires},
          {"finalizing_at", time_or_null(batch.finalizing_at)},
          {"completed_at", ended_as(BatchStatus::kCompleted)},
          {"failed_at", ended_as(BatchStatus::kFailed)},
          {"expired_at", ended_as(BatchStatus::kExpired)},
          {"cancelling_at", time_or_null(batch.cancelling_at)},
          {"cancelled_at", ended_as(BatchStatus::kCancelled)},
          {"request_counts", {{"total", batch.total}, {"completed", batch.completed}, {"failed", batch.failed}}},
          {"metadata", parse_json(batch.metadata, "metadata")}};
}

std::string text_of(const json::object& body, const char* name) {
  const json::value* const member = find_member(body, name);
  if (member == nullptr) refuse_field(name, fmt::format("'{}' is missing", name));
  if (!member->is_string()) refuse_value(name, "a string", *member);
  return std::string(member->get_string());
}

BatchJob read_batch(const json::object& body) {
  BatchJob batch;
  batch.input_file = text_of(body, "input_file_id");
  batch.endpoint = text_of(body, "endpoint");
  if (std::find(kEndpoints.begin(), kEndpoints.end(), batch.endpoint) == kEndpoints.end()) {
    refuse_value("endpoint", "one of /v1/chat/completions, /v1/completions, /v1/embeddings and /v1/responses",
                 body.at("endpoint"));
  }
  if (text_of(body, "completion_window") != "24h") {
    refuse_value("completion_window", "\"24h\"", body.at("completion_window"));
  }
  if (const json::value* const metadata = find_member(body, "metadata")) {
    constexpr size_t kMostBytes = 16 * 1024;
    batch.metadata = json::serialize(*metadata);
    if (!metadata->is_object() || batch.metadata.size() > kMostBytes) {
      refuse_field("metadata", fmt::format("'metadata' should be an object of at most {} bytes", kMostBytes));
    }
  }
  return batch;
}

[[noreturn]] void refuse_unknown_batch(std::string_view id) {
  throw ApiError(404, "not_found_error", "batch_not_found", fmt::format("there is no batch '{}'", printable(id)), "id");
}

}  // namespace

void handle_create_batch(ServerContext& context, const ExchangePtr& exchange) {
  BatchStore& store = require_batches(context);
  const http::Request& from = exchange->request();
  BatchJob batch = read_batch(read_body(from, context.limits));
  batch.tenant = from.tenant;
  const std::optional<StoredFile> file = store.find_file(from.tenant, batch.input_file);
  if (!file) {
    throw ApiError(404, "not_found_error", "file_not_found",
                   fmt::format("there is no file '{}'; upload it to /v1/files first", printable(batch.input_file)),
                   "input_file_id");
  }
  if (file->purpose != "batch") refuse_field("input_file_id", "'input_file_id' is the output of a batch");
  const int64_t most = context.limits.batches;
  const std::optional<BatchJob> made = store.add_batch(std::move(batch), most);
  if (!made) {
    throw ApiError(400, "invalid_request_error", "limit_exceeded",
                   fmt::format("{} batches have not ended, at most {} may wait; cancel one or wait", most, most));
  }
  exchange->reply({.body = json::serialize(batch_json(*made))});
}

void handle_batches(ServerContext& context, const ExchangePtr& exchange) {
  const BatchStore& store = require_batches(context);
  const http::Request& from = exchange->request();
  const ListPage page = read_list_page(from, 20, 100);
  json::array data;
  for (const BatchJob& batch : store.batches(from.tenant, page.after, page.limit + 1)) {
    data.push_back(batch_json(batch));
  }
  exchange->reply({.body = json::serialize(list_page_json(std::move(data), page))});
}

void handle_batch(ServerContext& context, const ExchangePtr& exchange) {
  const std::string_view id = std::string_view(exchange->request().path).substr(kPath.size());
  const std::optional<BatchJob> batch = require_batches(context).find_batch(exchange->request().tenant, id);
  if (!batch) refuse_unknown_batch(id);
  exchange->reply({.body = json::serialize(batch_json(*batch))});
}

void handle_cancel_batch(ServerContext& context, const ExchangePtr& exchange) {
  BatchStore& store = require_batches(context);
  std::string_view id = std::string_view(exchange->request().path).substr(kPath.size());
  if (!id.ends_with(kCancel)) {
    throw ApiError(404, "not_found_error", "not_found", "unknown path; POST /v1/batches/{id}/cancel cancels a batch");
  }
  id.remove_suffix(kCancel.size());
  const std::optional<BatchJob> batch = store.cancel(exchange->request().tenant, id);
  if (!batch) refuse_unknown_batch(id);
  exchange->reply({.body = json::serialize(batch_json(*batch))});
}

}  // namespace quire
