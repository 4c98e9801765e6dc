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
  const std::string& tokenizer_kind() const { return tokenizer_kind_; }  // where it came from, for `info`

  // The prompt text of a conversation. `messages` have OpenAI's form; `variables` are added to the template's variables
  // and override them. Throws Error kUnsupported when the model has no template, kInvalidArgument with the template's
  // message when the template refuses.
  std::string render_chat(const json::array& messages, bool add_generation_prompt,
                          const json::object& variables = {}) const;
  // The same with another template, and with the model's special tokens.
  std::string render_chat(const ChatTemplate& by, const json::array& messages, bool add_generation_prompt,
                          const json::object& variables) const;
  // Encodes a rendered conversation: the text contains its special tokens, and none are added.
  std::vector<int32_t> encode_rendered(std::string_view rendered) const;
  // Encodes plain text: the tokenizer adds its special tokens, and recognises none in the text.
  std::vector<int32_t> encode_plain(std::string_view text) const;

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
};

}  // namespace quire
