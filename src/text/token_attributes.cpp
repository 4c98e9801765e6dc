// White space that the special tokens of some model families take with them. tokenizer.json says it of each token
// (lstrip, rstrip); GGUF has no field for it, so the family is recognised by what the file has.
#include <algorithm>

#include "text/tokenizer_parts.h"

namespace quire {
namespace {

constexpr std::string_view kAll = "";

struct Family {
  // Each one that is not empty must agree.
  std::string_view architecture = {};
  std::string_view model = {};  // tokenizer.ggml.model
  std::string_view pre = {};    // tokenizer.ggml.pre
  std::string_view name = {};   // a part of general.name, in small letters and digits only
  std::string_view token = kAll;
  std::vector<std::string_view> except = {};
  bool lstrip = false;
  bool rstrip = false;
};

// As the families' own tokenizer.json says it. The first row that agrees counts.
const std::vector<Family>& families() {
  static const std::vector<Family> rows = {
      // Phi-3 and Phi-3.5: a template's line break after <|user|> is no token.
      {.architecture = "phi3", .model = "llama", .except = {"<unk>", "<s>", "<|endoftext|>"}, .rstrip = true},
      {.name = "phi3", .except = {"<unk>", "<s>", "<|endoftext|>"}, .rstrip = true},
      // Phi-4 (14B)
      {.architecture = "phi3", .model = "gpt2", .pre = "dbrx", .lstrip = true, .rstrip = true},
      // RoBERTa's way to mask a word with the blank before it
      {.pre = "roberta-bpe", .token = "<mask>", .lstrip = true},
      {.pre = "jina-v2-de", .token = "<mask>", .lstrip = true},
      {.pre = "jina-v2-es", .token = "<mask>", .lstrip = true},
      {.pre = "jina-v2-code", .token = "<mask>", .lstrip = true},
      {.architecture = "nomic-bert-moe", .token = "<mask>", .lstrip = true},
      {.architecture = "jina-bert-v3", .token = "<mask>", .lstrip = true},
      {.architecture = "modern-bert", .token = "[MASK]", .lstrip = true},
  };
  return rows;
}

std::string small_letters_and_digits(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c >= 'A' && c <= 'Z') out += static_cast<char>(c - 'A' + 'a');
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) out += c;
  }
  return out;
}

}  // namespace

void set_family_attributes(const GgufVocabulary& gguf, std::vector<AddedToken>& tokens) {
  const std::string name = small_letters_and_digits(gguf.name);
  const auto agrees = [](std::string_view wanted, std::string_view found) { return wanted.empty() || wanted == found; };
  const auto family = std::ranges::find_if(families(), [&](const Family& row) {
    return agrees(row.architecture, gguf.architecture) && agrees(row.model, gguf.model) && agrees(row.pre, gguf.pre) &&
           name.find(row.name) != std::string::npos;
  });
  if (family == families().end()) return;
  for (AddedToken& token : tokens) {
    if (!token.special || (family->token != kAll && family->token != token.content)) continue;
    if (std::ranges::find(family->except, token.content) != family->except.end()) continue;
    token.lstrip = family->lstrip;
    token.rstrip = family->rstrip;
  }
}

}  // namespace quire
