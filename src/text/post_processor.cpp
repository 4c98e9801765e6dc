#include "text/post_processor.h"

#include "base/error.h"

namespace quire {
namespace {

constexpr int kMaxDepth = 16;

int32_t checked_id(const json::value& value) {
  const auto* id = value.if_int64();
  if (id == nullptr || *id < 0 || *id >= kMaxVocabularySize) {
    fail(ErrorCode::kCorrupt, "a post-processor names token id {}", printable(json::serialize(value), 40));
  }
  return static_cast<int32_t>(*id);
}

// ["</s>", 2]
int32_t parse_pair(const json::object& description, std::string_view key) {
  const json::array* pair = find_array(description, key);
  if (pair == nullptr || pair->size() != 2) {
    fail(ErrorCode::kCorrupt, "post-processor member \"{}\" should be [token, id]", key);
  }
  return checked_id((*pair)[1]);
}

void append_special(const json::object& description, const json::object& item, std::vector<int32_t>& ids) {
  const std::string name = get_string(item, "id");
  const json::object* defined = find_object(description, "special_tokens");
  const json::object* token = defined == nullptr ? nullptr : find_object(*defined, name);
  const json::array* token_ids = token == nullptr ? nullptr : find_array(*token, "ids");
  if (token_ids == nullptr) {
    fail(ErrorCode::kCorrupt, "the template names special token \"{}\", which it does not define", printable(name));
  }
  for (const json::value& id : *token_ids) ids.push_back(checked_id(id));
}

PostProcessor parse_template(const json::object& description) {
  const json::array* single = find_array(description, "single");
  if (single == nullptr) fail(ErrorCode::kCorrupt, "TemplateProcessing without \"single\"");
  PostProcessor processor;
  bool seen_text = false;
  for (const json::value& value : *single) {
    if (!value.is_object()) fail(ErrorCode::kCorrupt, "\"single\" should hold objects");
    const json::object& item = value.get_object();
    if (const json::object* special = find_object(item, "SpecialToken")) {
      append_special(description, *special, seen_text ? processor.after : processor.before);
    } else if (item.contains("Sequence") && !seen_text) {
      seen_text = true;
    } else {
      fail(ErrorCode::kUnsupported, "a template with item {}", printable(json::serialize(value), 60));
    }
  }
  if (!seen_text) fail(ErrorCode::kUnsupported, "a template without the text");
  return processor;
}

PostProcessor parse_sequence(const json::object& description, int depth) {
  if (depth >= kMaxDepth) fail(ErrorCode::kCorrupt, "post-processors nested more than {} deep", kMaxDepth);
  PostProcessor all;
  if (const json::array* list = find_array(description, "processors")) {
    for (const json::value& step : *list) {
      if (!step.is_object()) fail(ErrorCode::kCorrupt, "\"processors\" should hold objects");
      const PostProcessor outer = parse_post_processor(step.get_object(), depth + 1);
      all.before.insert(all.before.begin(), outer.before.begin(), outer.before.end());
      all.after.insert(all.after.end(), outer.after.begin(), outer.after.end());
    }
  }
  return all;
}

}  // namespace

PostProcessor parse_post_processor(const json::object& description, int depth) {
  const std::string type = get_string(description, "type");
  if (type == "ByteLevel") return {};  // changes offsets only
  if (type == "TemplateProcessing") return parse_template(description);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    return {{parse_pair(description, "cls")}, {parse_pair(description, "sep")}};
  }
  if (type == "Sequence") return parse_sequence(description, depth);
  fail(ErrorCode::kUnsupported,
       "post-processor \"{}\" is unknown; known are ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing, "
       "Sequence",
       printable(type));
}

}  // namespace quire
