#include "server/schema/prompt_fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "server/schema/field_error.h"

namespace quire {
namespace {

int32_t read_token_id(const std::string& path, const json::value& value, const ParseContext& context) {
  const int64_t last = context.vocab_size > 0 ? context.vocab_size - 1 : int64_t{std::numeric_limits<int32_t>::max()};
  if (!value.is_int64() || value.get_int64() < 0 || value.get_int64() > last) {
    refuse_value(path, fmt::format("a token id from 0 to {}", last), value);
  }
  return static_cast<int32_t>(value.get_int64());
}

// Builds no path for each of many elements.
std::vector<int32_t> read_ids(const std::string& path, const json::array& list, const ParseContext& context) {
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const bool is_plain = list[i].is_int64() && list[i].get_int64() >= 0 && list[i].get_int64() < context.vocab_size;
    ids.push_back(is_plain ? static_cast<int32_t>(list[i].get_int64()) : read_token_id(at(path, i), list[i], context));
  }
  return ids;
}

std::string read_string(const std::string& path, const json::value& from, size_t max_bytes) {
  if (!from.is_string()) refuse_value(path, "a string", from);
  const json::string& text = from.get_string();
  if (text.empty() || text.size() > max_bytes) {
    refuse_field(path,
                 fmt::format("'{}' should be a string of 1 to {} bytes, found {} bytes", path, max_bytes, text.size()));
  }
  return std::string(text);
}

constexpr std::string_view kPromptForms = "a string, a list of strings, a list of token ids, or a list of such lists";

}  // namespace

std::vector<int32_t> read_token_ids(const std::string& path, const json::value& value, const ParseContext& context,
                                    size_t max_entries) {
  if (!value.is_array()) refuse_value(path, "a list of token ids", value);
  const json::array& list = value.get_array();
  if (list.size() > max_entries) {
    refuse_field(path, fmt::format("'{}' holds {} entries, at most {} are allowed", path, list.size(), max_entries));
  }
  return read_ids(path, list, context);
}

std::vector<PromptValue> read_prompts(const std::string& path, const json::value& value, const ParseContext& context) {
  const auto text = [](const json::value& from) {
    return PromptValue{.text = std::string(from.get_string()), .ids = {}, .is_text = true};
  };
  if (value.is_string()) return {text(value)};
  if (!value.is_array()) refuse_value(path, kPromptForms, value);
  const json::array& list = value.get_array();
  if (list.empty()) refuse_field(path, fmt::format("'{}' is empty; give {}", path, kPromptForms));
  if (list[0].is_number()) return {PromptValue{.text = {}, .ids = read_ids(path, list, context), .is_text = false}};

  const auto most = static_cast<size_t>(context.limits.prompts);
  if (list.size() > most) {
    refuse_field(path, fmt::format("'{}' holds {} prompts, at most {} are allowed; send several requests", path,
                                   list.size(), most));
  }
  std::vector<PromptValue> prompts;
  prompts.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i].is_string()) {
      prompts.push_back(text(list[i]));
    } else if (list[i].is_array()) {
      const std::string list_path = at(path, i);
      if (list[i].get_array().empty()) refuse_field(list_path, fmt::format("'{}' holds no token", list_path));
      prompts.push_back({.text = {}, .ids = read_ids(list_path, list[i].get_array(), context), .is_text = false});
    } else {
      refuse_value(at(path, i), "a string or a list of token ids", list[i]);
    }
  }
  return prompts;
}

std::vector<PromptValue> read_mixed_prompts(const std::string& path, const json::value& value,
                                            const ParseContext& context) {
  const auto is_number = [](const json::value& element) { return element.is_number(); };
  const auto is_string = [](const json::value& element) { return element.is_string(); };
  if (!value.is_array()) return read_prompts(path, value, context);
  const json::array& list = value.get_array();
  const bool is_mixed =
      std::any_of(list.begin(), list.end(), is_number) && std::any_of(list.begin(), list.end(), is_string);
  if (!is_mixed) return read_prompts(path, value, context);
  PromptValue prompt;
  for (size_t i = 0; i < list.size(); ++i) {
    PromptValue part;
    if (list[i].is_string()) {
      part.text = std::string(list[i].get_string());
      part.is_text = true;
    } else {
      part.ids = {read_token_id(at(path, i), list[i], context)};
    }
    PromptValue& last = prompt.more.empty() ? prompt : prompt.more.back();
    if (i == 0) {
      prompt = std::move(part);
    } else if (!part.is_text && !last.is_text) {
      last.ids.push_back(part.ids[0]);
    } else {
      prompt.more.push_back(std::move(part));
    }
  }
  return {std::move(prompt)};
}

std::string read_document(const std::string& path, const json::value& value) {
  const json::value* const text = value.is_object() ? find_member(value.get_object(), "text") : &value;
  if (text == nullptr || !text->is_string()) refuse_value(path, "a string, or an object with text", value);
  return std::string(text->get_string());
}

std::vector<PromptValue> read_documents(const std::string& path, const json::value& value,
                                        const ParseContext& context) {
  if (!value.is_array()) return {{.text = read_document(path, value), .ids = {}, .is_text = true}};
  const json::array& list = value.get_array();
  const auto most = static_cast<size_t>(context.limits.prompts);
  if (list.empty() || list.size() > most) {
    refuse_field(path, fmt::format("'{}' holds {} texts, 1 to {} are expected", path, list.size(), most));
  }
  std::vector<PromptValue> documents;
  for (size_t i = 0; i < list.size(); ++i) {
    documents.push_back({.text = read_document(at(path, i), list[i]), .ids = {}, .is_text = true});
  }
  return documents;
}

std::shared_ptr<const std::vector<int32_t>> read_allowed_tokens(const json::value& value, const ParseContext& context) {
  const size_t most = value.is_array() ? value.get_array().size() : 0;  // the body's size is limited
  std::vector<int32_t> ids = read_token_ids("allowed_token_ids", value, context, most);
  if (ids.empty()) refuse_field("allowed_token_ids", "'allowed_token_ids' is empty; give at least one token id");
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return std::make_shared<const std::vector<int32_t>>(std::move(ids));
}

std::vector<std::string> read_strings(const std::string& path, const json::value& value, size_t max_entries,
                                      size_t max_bytes) {
  if (!value.is_array()) refuse_value(path, "a list of strings", value);
  const json::array& list = value.get_array();
  if (list.size() > max_entries) {
    refuse_field(path, fmt::format("'{}' holds {} strings, at most {} are allowed", path, list.size(), max_entries));
  }
  std::vector<std::string> strings;
  for (size_t i = 0; i < list.size(); ++i) strings.push_back(read_string(at(path, i), list[i], max_bytes));
  return strings;
}

std::vector<std::string> read_stop(const std::string& path, const json::value& value, const ParseContext& context) {
  const Limits& limits = context.limits;
  if (value.is_string()) return {read_string(path, value, limits.stop_bytes)};
  if (!value.is_array()) refuse_value(path, "a string, a list of strings, or null", value);
  return read_strings(path, value, static_cast<size_t>(limits.stop_strings), limits.stop_bytes);
}

std::vector<std::pair<int32_t, float>> read_logit_bias(const json::value& value, const ParseContext& context) {
  if (!value.is_object()) refuse_value("logit_bias", "an object of token id: bias", value);
  const json::object& object = value.get_object();
  if (object.size() > static_cast<size_t>(context.limits.logit_bias_entries)) {
    refuse_field("logit_bias", fmt::format("'logit_bias' holds {} entries, at most {} are allowed", object.size(),
                                           context.limits.logit_bias_entries));
  }
  std::vector<std::pair<int32_t, float>> biases;
  for (const auto& [key, bias] : object) {
    int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size()) id = -1;
    const std::string path = fmt::format("logit_bias.{}", std::string(key).substr(0, 40));
    read_token_id(path, json::value(id), context);
    const double number = bias.is_number() ? bias.to_number<double>() : std::nan("");
    if (!(number >= -100.0 && number <= 100.0)) refuse_value(path, "a number from -100 to 100", bias);
    biases.emplace_back(static_cast<int32_t>(id), static_cast<float>(number));
  }
  return biases;
}

Pooling read_pooling(const json::value& value) {
  if (value == "mean") return Pooling::kMean;
  if (value == "cls") return Pooling::kCls;
  if (value == "last") return Pooling::kLast;
  refuse_value("pooling", R"("mean", "cls" or "last")", value);
}

}  // namespace quire
