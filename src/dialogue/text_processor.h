// What a checkpoint says about text: its tokenizer, its chat template and the tokens that end a generation.
//
// Immutable once it is shared; any thread. HTTP workers and the program's commands use it to turn requests into token
// ids and tokens into text; the engine thread never does.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "dialogue/fim.h"
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
  const std::vector<int32_t>& eog_ids() const { return eog_ids_; }
  const std::optional<FimTokens>& fim_tokens() const { return fim_tokens_; }
  const std::string& tokenizer_kind() const { return tokenizer_kind_; }  // where it came from, for `info`

  // The prompt of a conversation, which knows the bytes that came from messages and variables. `messages` have OpenAI's
  // form; `variables` are added to the template's variables and override them. Throws Error kUnsupported when the model
  // has no template, kInvalidArgument with the template's message when the template refuses.
  MarkedText render_chat(const json::array& messages, bool add_generation_prompt,
                         const json::object& variables = {}) const;
  // The same with another template, and with the model's special tokens.
  MarkedText render_chat(const ChatTemplate& by, const json::array& messages, bool add_generation_prompt,
                         const json::object& variables) const;
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
  std::vector<int32_t> eog_ids_;
  std::optional<FimTokens> fim_tokens_;
};

}  // namespace quire
