#include <charconv>

#include "base/error.h"
#include "text/tokenizer_parts.h"

namespace quire {
namespace {

// A special token is written as its content or as an object with it.
std::optional<std::string> special_token(const json::object& config, std::string_view key) {
  const json::value* value = find_member(config, key);
  if (value == nullptr) return std::nullopt;
  if (value->is_object()) return get_string(value->get_object(), "content");
  return get_string(config, key);
}

std::optional<bool> optional_bool(const json::object& config, std::string_view key) {
  return find_member(config, key) == nullptr ? std::nullopt : std::optional(find_bool(config, key, false));
}

// A string, or a list of {"name", "template"}, from which "default" is used.
std::optional<std::string> find_template(const json::object& config) {
  const json::value* value = find_member(config, "chat_template");
  if (value == nullptr) return std::nullopt;
  if (!value->is_array()) return get_string(config, "chat_template");
  for (const json::value& entry : value->get_array()) {
    if (entry.is_object() && find_string(entry.get_object(), "name", "") == "default") {
      return get_string(entry.get_object(), "template");
    }
  }
  return std::nullopt;
}

std::vector<AddedToken> parse_added_tokens_decoder(const json::object& config) {
  std::vector<AddedToken> tokens;
  const json::object* decoder = find_object(config, "added_tokens_decoder");
  if (decoder == nullptr) return tokens;
  for (const auto& [key, value] : *decoder) {
    int32_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || !value.is_object()) {
      fail(ErrorCode::kCorrupt, "added_tokens_decoder should map ids to objects, found \"{}\"", printable(key));
    }
    tokens.push_back(parse_added_token(value.get_object(), id));
  }
  return tokens;
}

}  // namespace

AddedToken parse_added_token(const json::object& description, int32_t id) {
  AddedToken token;
  token.id = id;
  token.content = get_string(description, "content");
  token.single_word = find_bool(description, "single_word", false);
  token.lstrip = find_bool(description, "lstrip", false);
  token.rstrip = find_bool(description, "rstrip", false);
  token.special = find_bool(description, "special", false);
  token.normalized = find_bool(description, "normalized", !token.special);
  return token;
}

TokenizerConfig::TokenizerConfig(const json::value* config) {
  if (config == nullptr || config->is_null()) return;
  if (!config->is_object()) fail(ErrorCode::kCorrupt, "tokenizer_config.json should hold an object");
  const json::object& object = config->get_object();
  bos = special_token(object, "bos_token");
  eos = special_token(object, "eos_token");
  unk = special_token(object, "unk_token");
  pad = special_token(object, "pad_token");
  add_bos = optional_bool(object, "add_bos_token");
  add_eos = optional_bool(object, "add_eos_token");
  add_prefix_space = optional_bool(object, "add_prefix_space");
  tokenizer_class = find_string(object, "tokenizer_class", "");
  added_tokens = parse_added_tokens_decoder(object);
  chat_template = find_template(object);
}

void TokenizerConfig::apply(TokenizerParts& parts) const {
  const auto look_up = [&](const std::optional<std::string>& name, std::optional<int32_t>& id) {
    if (!name) return;
    const int32_t found = parts.all_tokens.find(*name);
    if (found != kNoToken) id = found;
  };
  look_up(bos, parts.bos_id);
  look_up(eos, parts.eos_id);
  look_up(unk, parts.unk_id);
  look_up(pad, parts.pad_id);
  if (chat_template) parts.chat_template = chat_template;
}

}  // namespace quire
