// The file that --config names: flags as "key: value" lines, the part of YAML that such files need.
//
//   # a comment
//   model: /models/model.gguf        a flag's long name without its dashes; _ reads as -
//   port: 9000
//   host: "127.0.0.1"                quotes are taken off; \" and \\ only between double ones
//   api-key: [one, two]              of repeatable flags, in brackets
//   stop:                            or one a line
//     - "\n"
//   no-webui: true                   switches are true or false
//   speculative-config:              of flags that take JSON: its object, one key a line
//     method: ngram
//     num_speculative_tokens: 5      numbers, true and false are values of these kinds unless they stand in quotes
//
// Tables in tables, anchors, several documents and blocks of text are refused.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace quire {

struct ConfigEntry {
  int line = 0;
  std::string key = {};  // as it was written
  std::vector<std::string> texts = {};
  json::object table = {};  // of an entry whose value is a table; then there are no texts
};

// Throws Error with "FILE:LINE: " for a file that cannot be read or is not of this form.
std::vector<ConfigEntry> read_config_file(const std::string& path);
// The same of a text; `name` is for messages.
std::vector<ConfigEntry> parse_config(const std::string& text, const std::string& name);

}  // namespace quire
