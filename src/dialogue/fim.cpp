#include "dialogue/fim.h"

#include <algorithm>
#include <array>

namespace quire {
namespace {

// A family's tokens. Without a middle the suffix comes first.
struct FimNames {
  std::string_view prefix, suffix, middle;
  std::string_view file = {}, repository = {};
};

constexpr auto kFamilies = std::to_array<FimNames>({
    // Qwen2.5-Coder and later
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>", "<|repo_name|>"},
    // CodeGemma
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_separator|>"},
    // others with these names
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},
    // StarCoder 2, Granite
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>", "<repo_name>"},
    // StarCoder, SantaCoder
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},
    {"<fim-prefix>", "<fim-suffix>", "<fim-middle>"},
    // DeepSeek-Coder, whose hole stands where others name the suffix
    {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"},
    // CodeLlama
    {"▁<PRE>", "▁<SUF>", "▁<MID>"},
    // GLM
    {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"},
    // Codestral
    {"[PREFIX]", "[SUFFIX]", ""},
});

constexpr std::array<std::string_view, 10> kEnds = {
    "<|fim_pad|>",   "<fim_pad>",  "<fim-pad>",   "<|file_sep|>", "<|file_separator|>",
    "<|repo_name|>", "<file_sep>", "<repo_name>", "▁<EOT>",       "<|cursor|>"};

std::optional<FimTokens> find_family(const Tokenizer& tokenizer) {
  const auto find = [&](std::string_view name) { return name.empty() ? std::nullopt : tokenizer.find_token(name); };
  const auto has_file = [&](const FimNames& names) { return names.file.empty() || find(names.file).has_value(); };
  for (const FimNames& names : kFamilies) {
    const std::optional<int32_t> prefix = find(names.prefix), suffix = find(names.suffix), middle = find(names.middle);
    if (!prefix || !suffix || (!names.middle.empty() && !middle) || !has_file(names)) continue;
    return FimTokens{.prefix = *prefix,
                     .suffix = *suffix,
                     .middle = middle,
                     .file = find(names.file),
                     .repository = find(names.repository)};
  }
  return std::nullopt;
}

// The ids of a GGUF file, by newer and older keys.
std::optional<FimTokens> find_in_file(const GgufFile& gguf, int32_t vocab_size) {
  const auto find = [&](std::string_view key, std::string_view older) -> std::optional<int32_t> {
    for (const std::string_view part : {key, older}) {
      const std::string name = "tokenizer.ggml." + std::string(part) + "_token_id";
      if (part.empty() || !gguf.has(name)) continue;
      const int64_t id = gguf.get_int(name);
      if (id >= 0 && id < vocab_size) return static_cast<int32_t>(id);
    }
    return std::nullopt;
  };
  const std::optional<int32_t> prefix = find("fim_pre", "prefix"), suffix = find("fim_suf", "suffix");
  const std::optional<int32_t> middle = find("fim_mid", "middle");
  if (!prefix || !suffix || !middle) return std::nullopt;
  FimTokens tokens{.prefix = *prefix,
                   .suffix = *suffix,
                   .middle = middle,
                   .file = find("fim_sep", ""),
                   .repository = find("fim_rep", "")};
  for (const std::optional<int32_t> end : {find("fim_pad", ""), tokens.file, tokens.repository}) {
    if (end) tokens.ends.push_back(*end);
  }
  return tokens;
}

void append(std::vector<int32_t>& ids, const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<int32_t> more = tokenizer.encode(text, {.add_special_tokens = false, .parse_special = false});
  ids.insert(ids.end(), more.begin(), more.end());
}

// What the tokenizer puts before every text.
std::vector<int32_t> beginning(const Tokenizer& tokenizer) {
  std::vector<int32_t> ids = tokenizer.encode("", {.add_special_tokens = true});
  if (ids.empty() || tokenizer.bos_id() != ids.front()) return {};
  return {ids.front()};
}

void append_files(std::vector<int32_t>& ids, const Tokenizer& tokenizer, const FimTokens& tokens,
                  std::span<const FimFile> files) {
  if (files.empty()) return;
  if (tokens.repository && tokens.file) {
    ids.push_back(*tokens.repository);
    append(ids, tokenizer, "repository\n");
  }
  const auto begin_file = [&](const std::string& name) {
    if (tokens.file) ids.push_back(*tokens.file);
    append(ids, tokenizer, name + "\n");
  };
  for (const FimFile& file : files) {
    begin_file(file.name);
    append(ids, tokenizer, file.text + "\n");
  }
  if (tokens.file) begin_file("file");
}

}  // namespace

std::optional<FimTokens> find_fim_tokens(const Tokenizer& tokenizer, const GgufFile* gguf) {
  std::optional<FimTokens> tokens = gguf != nullptr ? find_in_file(*gguf, tokenizer.vocab_size()) : std::nullopt;
  if (!tokens) tokens = find_family(tokenizer);
  if (!tokens) return std::nullopt;
  for (const std::string_view name : kEnds) {
    if (const std::optional<int32_t> id = tokenizer.find_token(name)) tokens->ends.push_back(*id);
  }
  std::sort(tokens->ends.begin(), tokens->ends.end());
  tokens->ends.erase(std::unique(tokens->ends.begin(), tokens->ends.end()), tokens->ends.end());
  return tokens;
}

std::vector<int32_t> fim_prompt(const Tokenizer& tokenizer, const FimTokens& tokens, const FimText& text) {
  std::vector<int32_t> ids = beginning(tokenizer);
  append_files(ids, tokenizer, tokens, text.files);
  const auto add = [&](int32_t token, std::string_view part) {
    ids.push_back(token);
    append(ids, tokenizer, part);
  };
  if (!tokens.middle) {
    add(tokens.suffix, text.suffix);
    add(tokens.prefix, text.prefix);
    return ids;
  }
  add(tokens.prefix, text.prefix);
  add(tokens.suffix, text.suffix);
  ids.push_back(*tokens.middle);
  return ids;
}

}  // namespace quire
