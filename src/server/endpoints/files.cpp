// Files for batches: /v1/files, /v1/files/{id}, /v1/files/{id}/content.

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "server/answers/prompts.h"
#include "server/batches/store.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/list_page.h"
#include "server/http/multipart.h"
#include "server/schema/field_error.h"

namespace quire {
namespace {

constexpr std::string_view kPath = "/v1/files/", kContent = "/content";

json::object file_json(const StoredFile& file) {
  return {{"id", file.id},         {"object", "file"},        {"bytes", file.bytes},  {"created_at", file.created},
          {"filename", file.name}, {"purpose", file.purpose}, {"status", "processed"}};
}

[[noreturn]] void refuse_unknown_file(std::string_view id) {
  throw ApiError(404, "not_found_error", "file_not_found", fmt::format("there is no file '{}'", printable(id)), "id");
}

}  // namespace

void handle_upload_file(ServerContext& context, const ExchangePtr& exchange) {
  BatchStore& store = require_batches(context);
  const http::Request& from = exchange->request();
  std::string unpacked;
  const auto form = http::parse_form(from.header("content-type"), unpack_body(from, context.limits, unpacked));
  if (!form) refuse_field("", "the request body should be multipart/form-data with the parts purpose and file");
  const auto find = [&](std::string_view name) {
    const auto part = std::find_if(form->begin(), form->end(), [&](const auto& each) { return each.name == name; });
    return part != form->end() ? &*part : nullptr;
  };
  const http::FormPart* const purpose = find("purpose");
  if (purpose == nullptr || purpose->content != "batch") {
    refuse_unsupported("purpose", "'purpose' should be \"batch\": this server keeps files for batches only");
  }
  const http::FormPart* const file = find("file");
  if (file == nullptr) refuse_field("file", "'file' is missing; give a file of JSON lines");
  constexpr size_t kMostNameBytes = 255;
  const std::string name = file->file_name.empty() ? "file.jsonl" : printable(file->file_name, kMostNameBytes);
  const int64_t most = context.limits.batch_files;
  const std::optional<StoredFile> added =
      store.add_file({.id = "", .tenant = from.tenant, .name = name, .purpose = "batch"}, file->content, most);
  if (!added) {
    throw ApiError(400, "invalid_request_error", "limit_exceeded",
                   fmt::format("there are {} files, at most {} are kept; delete some", most, most), "file");
  }
  exchange->reply({.body = json::serialize(file_json(*added))});
}

void handle_files(ServerContext& context, const ExchangePtr& exchange) {
  const BatchStore& store = require_batches(context);
  const http::Request& from = exchange->request();
  const ListPage page = read_list_page(from, 10'000, 10'000);
  json::array data;
  for (const StoredFile& file : store.files(from.tenant, page.after, page.limit + 1)) data.push_back(file_json(file));
  exchange->reply({.body = json::serialize(list_page_json(std::move(data), page))});
}

void handle_file(ServerContext& context, const ExchangePtr& exchange) {
  const BatchStore& store = require_batches(context);
  const http::Request& from = exchange->request();
  std::string_view id = std::string_view(from.path).substr(kPath.size());
  if (id.ends_with(kContent)) {
    id.remove_suffix(kContent.size());
    std::optional<std::string> content = store.content(from.tenant, id);
    if (!content) refuse_unknown_file(id);
    return exchange->reply({.content_type = "application/octet-stream", .body = std::move(*content)});
  }
  const std::optional<StoredFile> file = store.find_file(from.tenant, id);
  if (!file) refuse_unknown_file(id);
  exchange->reply({.body = json::serialize(file_json(*file))});
}

void handle_delete_file(ServerContext& context, const ExchangePtr& exchange) {
  BatchStore& store = require_batches(context);
  const http::Request& from = exchange->request();
  const std::string_view id = std::string_view(from.path).substr(kPath.size());
  switch (store.remove_file(from.tenant, id)) {
    case FileRemoval::kDone: break;
    case FileRemoval::kUnknown: refuse_unknown_file(id);
    case FileRemoval::kInUse:
      throw ApiError(400, "invalid_request_error", "file_in_use", "a batch still reads this file; cancel it first",
                     "id");
  }
  exchange->reply({.body = json::serialize(json::object{{"id", id}, {"object", "file"}, {"deleted", true}})});
}

}  // namespace quire
