#include "grammar/json_schema/document.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "grammar/json_schema/uri.h"

namespace quire::schema {
namespace {

constexpr int kMaxDepth = 500;

// Keywords that not every draft knows, with the first and the last that does.
struct Known {
  std::string_view keyword;
  Draft first;
  Draft last;
};
constexpr std::array kKnown = {
    Known{"id", Draft::k4, Draft::k4},
    Known{"$id", Draft::k6, Draft::kUnstated},
    Known{"const", Draft::k6, Draft::kUnstated},
    Known{"contains", Draft::k6, Draft::kUnstated},
    Known{"propertyNames", Draft::k6, Draft::kUnstated},
    Known{"if", Draft::k7, Draft::kUnstated},
    Known{"then", Draft::k7, Draft::kUnstated},
    Known{"else", Draft::k7, Draft::kUnstated},
    Known{"dependencies", Draft::k4, Draft::k7},
    Known{"additionalItems", Draft::k4, Draft::k2019},
    Known{"$recursiveRef", Draft::k2019, Draft::k2019},
    Known{"$recursiveAnchor", Draft::k2019, Draft::k2019},
    Known{"$anchor", Draft::k2019, Draft::kUnstated},
    Known{"$dynamicRef", Draft::k2020, Draft::kUnstated},
    Known{"$dynamicAnchor", Draft::k2020, Draft::kUnstated},
    Known{"dependentRequired", Draft::k2019, Draft::kUnstated},
    Known{"dependentSchemas", Draft::k2019, Draft::kUnstated},
    Known{"minContains", Draft::k2019, Draft::kUnstated},
    Known{"maxContains", Draft::k2019, Draft::kUnstated},
    Known{"unevaluatedItems", Draft::k2019, Draft::kUnstated},
    Known{"unevaluatedProperties", Draft::k2019, Draft::kUnstated},
    Known{"prefixItems", Draft::k2020, Draft::kUnstated},
    Known{"nullable", Draft::kUnstated, Draft::kUnstated},
};
// Older keywords that count where no draft is stated.
constexpr std::array<std::string_view, 2> kStillRead = {"dependencies", "additionalItems"};

bool is_known(std::string_view keyword, Draft draft) {
  const auto* known = std::ranges::find(kKnown, keyword, &Known::keyword);
  if (known == kKnown.end()) return true;
  if (draft == Draft::kUnstated && std::ranges::find(kStillRead, keyword) != kStillRead.end()) return true;
  return known->first <= draft && draft <= known->last;
}

// A $schema that Quire does not know says nothing of what keywords mean: as if there were none.
Draft stated_draft(const json::value& root) {
  const json::object* object = root.if_object();
  const json::value* value = object == nullptr ? nullptr : object->if_contains("$schema");
  if (value == nullptr || !value->is_string()) return Draft::kUnstated;
  const std::string_view uri(value->get_string());
  if (uri.find("draft-04") != uri.npos) return Draft::k4;
  if (uri.find("draft-06") != uri.npos) return Draft::k6;
  if (uri.find("draft-07") != uri.npos) return Draft::k7;
  if (uri.find("2019-09/schema") != uri.npos) return Draft::k2019;
  if (uri.find("2020-12/schema") != uri.npos) return Draft::k2020;
  return Draft::kUnstated;
}

// Where schemas stand within a schema.
constexpr std::array<std::string_view, 12> kOneSchema = {
    "additionalItems", "additionalProperties", "propertyNames",         "contains",     "not", "if", "then", "else",
    "items",           "unevaluatedItems",     "unevaluatedProperties", "contentSchema"};
constexpr std::array<std::string_view, 5> kSchemaList = {"allOf", "anyOf", "oneOf", "prefixItems", "items"};
constexpr std::array<std::string_view, 6> kSchemaMap = {"properties",  "patternProperties", "$defs",
                                                        "definitions", "dependentSchemas",  "dependencies"};

std::string escaped_segment(std::string_view key) {
  std::string text;
  for (const char c : key) {
    if (c == '~') {
      text += "~0";
    } else if (c == '/') {
      text += "~1";
    } else {
      text += c;
    }
  }
  return text;
}

std::string unescaped_segment(std::string_view segment) {
  std::string text;
  for (size_t i = 0; i < segment.size(); ++i) {
    const bool is_escape = segment[i] == '~' && i + 1 < segment.size();
    if (is_escape && segment[i + 1] == '1') {
      text += '/';
      ++i;
    } else if (is_escape && segment[i + 1] == '0') {
      text += '~';
      ++i;
    } else {
      text += segment[i];
    }
  }
  return text;
}

const json::value* child(const json::value& from, const std::string& key) {
  if (const json::object* object = from.if_object()) return object->if_contains(key);
  const json::array* array = from.if_array();
  if (array == nullptr || key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != key.npos) {
    return nullptr;
  }
  return array->if_contains(std::stoul(key));
}

}  // namespace

SchemaDocument::SchemaDocument(const json::value& root) : root_(root), draft_(stated_draft(root)) {
  resources_[""] = &root_;
  index({&root_, "", 0});
}

const json::value* SchemaDocument::find(const json::value& schema, std::string_view keyword) const {
  const json::object* object = schema.if_object();
  const json::value* value = object == nullptr ? nullptr : object->if_contains(keyword);
  return value != nullptr && is_known(keyword, draft_) ? value : nullptr;
}

void SchemaDocument::index(Place start) {
  std::vector<Place> todo = {std::move(start)};
  while (!todo.empty()) {
    Place place = std::move(todo.back());
    todo.pop_back();
    if (place.depth > kMaxDepth) {
      fail(ErrorCode::kLimit, "the schema nests deeper than {} levels", kMaxDepth);
    }
    if (!place.schema->is_object() || bases_.contains(place.schema)) continue;
    index_one(place);
    add_children(place, todo);
  }
}

void SchemaDocument::index_one(Place& place) {
  const json::value& schema = *place.schema;
  const auto text = [&](std::string_view keyword) -> std::string_view {
    const json::value* value = find(schema, keyword);
    return value != nullptr && value->is_string() ? std::string_view(value->get_string()) : std::string_view();
  };
  const bool has_only_ref = !reads_beside_ref() && find(schema, "$ref") != nullptr;
  const std::string_view id = has_only_ref ? "" : text(draft_ == Draft::k4 ? "id" : "$id");
  if (!id.empty()) {
    const size_t hash = std::min(id.find('#'), id.size());
    if (hash > 0) {
      place.base = resolve_uri(place.base, id.substr(0, hash));
      resources_.emplace(place.base, &schema);
    }
    if (hash + 1 < id.size()) anchors_.emplace(place.base + std::string(id.substr(hash)), &schema);
  }
  for (const std::string_view keyword : {"$anchor", "$dynamicAnchor"}) {
    const std::string_view name = text(keyword);
    if (!name.empty()) anchors_.emplace(place.base + "#" + std::string(name), &schema);
  }
  if (const std::string_view name = text("$dynamicAnchor"); !name.empty()) ++dynamic_anchors_[std::string(name)];
  if (find(schema, "$recursiveAnchor") != nullptr) ++recursive_anchors_;
  for (const std::string_view keyword : {"unevaluatedItems", "unevaluatedProperties"}) {
    if (find(schema, keyword) != nullptr) used_.emplace(keyword);
  }
  bases_.emplace(&schema, place.base);
}

void SchemaDocument::add_children(const Place& place, std::vector<Place>& todo) const {
  const json::object& schema = place.schema->get_object();
  const auto add = [&](const json::value& value) { todo.push_back({&value, place.base, place.depth + 1}); };
  for (const std::string_view keyword : kOneSchema) {
    if (const json::value* value = schema.if_contains(keyword)) add(*value);
  }
  for (const std::string_view keyword : kSchemaList) {
    const json::value* value = schema.if_contains(keyword);
    if (value == nullptr || !value->is_array()) continue;
    for (const json::value& item : value->get_array()) add(item);
  }
  for (const std::string_view keyword : kSchemaMap) {
    const json::value* value = schema.if_contains(keyword);
    if (value == nullptr || !value->is_object()) continue;
    for (const auto& member : value->get_object()) add(member.value());
  }
}

const json::value* SchemaDocument::walk(const json::value& from, std::string_view pointer) {
  const json::value* at = &from;
  const json::value* last_schema = &from;
  int depth = 0;
  while (!pointer.empty()) {
    const size_t end = std::min(pointer.find('/', 1), pointer.size());
    at = child(*at, unescaped_segment(pointer.substr(1, end - 1)));
    if (at == nullptr) return nullptr;
    if (bases_.contains(at)) last_schema = at;
    pointer.remove_prefix(end);
    ++depth;
  }
  const auto base = bases_.find(last_schema);
  index({at, base == bases_.end() ? "" : base->second, depth});
  return at;
}

bool SchemaDocument::is_dynamic(std::string_view keyword, std::string_view name) const {
  if (keyword == "$recursiveRef") return recursive_anchors_ > 1;
  const auto found = dynamic_anchors_.find(name);
  return keyword == "$dynamicRef" && found != dynamic_anchors_.end() && found->second > 1;
}

const json::value& SchemaDocument::resolve(const json::value& schema, std::string_view keyword) {
  const json::value* value = find(schema, keyword);
  if (value == nullptr || !value->is_string()) wrong(schema, keyword, "it should be a string");
  const std::string_view reference(value->get_string());
  const size_t hash = std::min(reference.find('#'), reference.size());
  const std::string fragment = percent_decoded(reference.substr(std::min(hash + 1, reference.size())));
  if (is_dynamic(keyword, fragment)) {
    unsupported(schema, keyword, "what it points to depends on where the schema is used from");
  }
  const auto base = bases_.find(&schema);
  const std::string uri = resolve_uri(base == bases_.end() ? "" : base->second, reference.substr(0, hash));
  const auto resource = resources_.find(uri);
  if (resource == resources_.end()) {
    unsupported(schema, keyword, "it points into another document; put that schema under $defs");
  }
  const json::value* target = nullptr;
  if (fragment.empty() || fragment.starts_with('/')) {
    target = walk(*resource->second, fragment);
  } else if (const auto anchor = anchors_.find(uri + "#" + fragment); anchor != anchors_.end()) {
    target = anchor->second;
  }
  if (target == nullptr) wrong(schema, keyword, "nothing is there");
  if (!target->is_object() && !target->is_bool()) wrong(schema, keyword, "it points to a value that is no schema");
  return *target;
}

std::string SchemaDocument::pointer(const json::value& value) const {
  std::vector<std::pair<const json::value*, std::string>> todo = {{&root_, "#"}};
  while (!todo.empty()) {
    const auto [at, path] = std::move(todo.back());
    todo.pop_back();
    if (at == &value) return path;
    if (const json::object* object = at->if_object()) {
      for (const auto& member : *object) todo.emplace_back(&member.value(), path + "/" + escaped_segment(member.key()));
    } else if (const json::array* array = at->if_array()) {
      for (size_t i = 0; i < array->size(); ++i) todo.emplace_back(&(*array)[i], path + "/" + std::to_string(i));
    }
  }
  return "#";
}

void SchemaDocument::wrong(const json::value& schema, std::string_view keyword, std::string_view why) const {
  const json::value* value = find(schema, keyword);
  fail(ErrorCode::kInvalidArgument, "the JSON schema is wrong at {}/{}: {}{}", pointer(schema),
       escaped_segment(keyword), why, value == nullptr ? "" : ", found " + printable(json::serialize(*value), 60));
}

void SchemaDocument::unsupported(const json::value& schema, std::string_view keyword, std::string_view why) const {
  fail(ErrorCode::kUnsupported, "the JSON schema uses {}/{}, which is not supported: {}", pointer(schema),
       escaped_segment(keyword), why);
}

}  // namespace quire::schema
