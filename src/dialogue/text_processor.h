// What a checkpoint says about text: its tokenizer, its chat template and the tokens that end a generation.
//
// Immutable once it is shared; any thread. HTTP workers and the program's commands use it to turn requests into token
// ids and tokens into text; the engine thread never does.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "dialogue/fim.h"
#include "dialogue/reasoning.h"
#include "dialogue/relevance.h"
#include "dialogue/tool.h"
#include "dialogue/tool_formats/tool_format.h"
#include "jinja/chat_template.h"
#include "models/loading/checkpoint.h"
#include "text/tokenizer.h"

namespace quire {

class TextProcessor {
 public:
  // Throws Error naming the file that is missing or wrong, and what to do.
  static std::unique_ptr<TextProcessor> load(const Checkpoint& checkpoint);

  // Replaces the model's own template. Throws Error for one that cannot be parsed. Before other threads use this.
  void use_chat_template(std::string source);

  const Tokenizer& tokenizer() const { return tokenizer_; }
  bool has_chat_template() const { return template_.has_value(); }
  const std::string& chat_template_problem() const { return template_error_; }  // why the template cannot be used
  const ChatTemplate& chat_template() const { return *template_; }
  const std::string& chat_template_source() const { return template_source_; }

  // How the model writes calls of tools, and what it thinks (null: it marks nothing as such): found by its chat
  // template unless they were named. Throws Error kInvalidArgument for a name that is unknown; "none" is no reasoning.
  const ToolFormat& tool_format() const { return *tool_format_; }
  const ReasoningFormat* reasoning_format() const { return reasoning_format_; }
  void use_tool_format(std::string_view name);
  void use_reasoning_format(std::string_view name);
  // Their marks that are special tokens, which belong to the text where it is read for them: those of reasoning, and of
  // calls if they may come.
  std::vector<int32_t> mark_tokens(bool with_calls) const;

  // How the model is asked whether a document answers a query; nothing: it is compared by embeddings. Found in the
  // model's files unless it is named: "cosine" or "yes-no". Throws as relevance.h says, and kInvalidArgument for
  // another name.
  const std::optional<RelevanceFormat>& relevance_format() const { return relevance_format_; }
  void use_relevance_format(std::string_view name);
  void use_relevance_format(RelevanceFormat format) { relevance_format_ = std::move(format); }

  const std::vector<int32_t>& eog_ids() const { return eog_ids_; }
  const std::optional<FimTokens>& fim_tokens() const { return fim_tokens_; }
  const std::string& tokenizer_kind() const { return tokenizer_kind_; }  // where it came from, for `info`

  // The prompt of a conversation, which knows the bytes that came from messages and variables. `messages` have OpenAI's
  // form; `variables` are added to the template's variables and override them; `tools` are what the model may call.
  // Throws Error kUnsupported when the model has no template, kInvalidArgument with the template's message when the
  // template refuses.
  MarkedText render_chat(const json::array& messages, bool add_generation_prompt, const json::object& variables = {},
                         std::span<const Tool> tools = {}) const;
  // The same with another template, and with the model's special tokens.
  MarkedText render_chat(const ChatTemplate& by, const json::array& messages, bool add_generation_prompt,
                         const json::object& variables, std::span<const Tool> tools = {}) const;
  // Encodes a rendered conversation, which contains its special tokens. Their names in messages are text, unless
  // `parse_special` says that they are tokens too.
  struct RenderedOptions {
    bool add_special_tokens = false;  // the tokenizer's own, around the prompt
    bool parse_special = false;
  };
  std::vector<int32_t> encode_rendered(const MarkedText& rendered, RenderedOptions options) const;
  std::vector<int32_t> encode_rendered(const MarkedText& rendered) const { return encode_rendered(rendered, {}); }
  // Encodes a prompt in the caller's own format: the tokenizer adds its special tokens and, if `parse_special`, reads
  // their names in the text as those tokens.
  std::vector<int32_t> encode_plain(std::string_view text, bool parse_special = true) const;

 private:
  explicit TextProcessor(Tokenizer tokenizer) : tokenizer_(std::move(tokenizer)) {}

  void take_chat_template(std::string source);
  void collect_eog_ids(const Checkpoint& checkpoint);

  Tokenizer tokenizer_;
  std::string tokenizer_kind_;
  std::string template_source_;
  std::optional<ChatTemplate> template_;
  std::string template_error_;
  const ToolFormat* tool_format_ = &generic_tool_format();
  const ReasoningFormat* reasoning_format_ = nullptr;
  std::vector<int32_t> eog_ids_;
  std::optional<FimTokens> fim_tokens_;
  std::optional<RelevanceFormat> relevance_format_;
};

}  // namespace quire
