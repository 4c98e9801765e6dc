#include "server/apis/tokenize/answer.h"

#include <fmt/format.h>

#include "server/apis/json_text.h"

namespace quire {

std::string token_pieces(const TokenNames& names, std::span<const int32_t> ids, bool with_pieces) {
  std::string body = "{\"tokens\":";
  if (!with_pieces) {
    append_token_ids(body, ids);
    return body + '}';
  }
  body += '[';
  for (size_t i = 0; i < ids.size(); ++i) {
    body += fmt::format("{}{{\"id\":{},\"piece\":{}}}", i > 0 ? "," : "", ids[i], json_string(names.name(ids[i])));
  }
  return body + "]}";
}

std::string token_count(const TokenNames& names, std::span<const int32_t> ids, int64_t max_model_len,
                        bool with_strings) {
  std::string body = fmt::format("{{\"count\":{},\"max_model_len\":{},\"tokens\":", ids.size(), max_model_len);
  append_token_ids(body, ids);
  body += ",\"token_strs\":";
  if (!with_strings) return body + "null}";
  body += '[';
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) body += ',';
    append_json_string(body, names.name(ids[i]));
  }
  return body + "]}";
}

}  // namespace quire
