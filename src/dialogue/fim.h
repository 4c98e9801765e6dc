// Fill in the middle: the prompt by which a model of code writes what stands between two texts. Each family trained
// with its own special tokens; a model without any cannot do it.
//
// Pure functions over constant tables, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/files/gguf.h"
#include "text/tokenizer.h"

namespace quire {

struct FimTokens {
  int32_t prefix = 0;
  int32_t suffix = 0;
  std::optional<int32_t> middle = {};  // none: the suffix comes first, and the prefix last
  std::optional<int32_t> file = {};    // before each file of a repository
  std::optional<int32_t> repository = {};
  std::vector<int32_t> ends = {};  // tokens that a model writes where the middle is complete

  bool operator==(const FimTokens&) const = default;
};

struct FimFile {
  std::string name;
  std::string text;
};

struct FimText {
  std::string_view prefix;
  std::string_view suffix;
  std::span<const FimFile> files = {};  // others that may help
};

// By the names of the families, or by the ids that a GGUF file gives (null: there is no such file).
std::optional<FimTokens> find_fim_tokens(const Tokenizer& tokenizer, const GgufFile* gguf);

// All texts are data: names of special tokens in them are plain text.
std::vector<int32_t> fim_prompt(const Tokenizer& tokenizer, const FimTokens& tokens, const FimText& text);

}  // namespace quire
