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
//
// Nested keys, anchors, several documents and blocks of text are refused.
#pragma once

#include <string>
#include <vector>

namespace quire {

struct ConfigEntry {
  int line = 0;
  std::string key = {};  // as it was written
  std::vector<std::string> texts = {};
};

// Throws Error with "FILE:LINE: " for a file that cannot be read or is not of this form.
std::vector<ConfigEntry> read_config_file(const std::string& path);
// The same of a text; `name` is for messages.
std::vector<ConfigEntry> parse_config(const std::string& text, const std::string& name);

}  // namespace quire
