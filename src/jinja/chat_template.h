// Chat templates: a model's Jinja text that turns messages into a prompt, rendered as Hugging Face's
// apply_chat_template renders it. Templates come with model files and messages with requests: both may be hostile, so
// every rendering has budgets, and the engine can reach nothing outside the context that it is given.
//
// A ChatTemplate is immutable and cheap to copy; any number of threads may render from it at once.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "jinja/marked_text.h"

namespace quire {

// Reaching one of these is Error kLimit.
struct ChatTemplateLimits {
  size_t operations = 500'000;       // evaluated expressions, statements, loop turns, and one for every KiB handled
  size_t depth = 400;                // of nested evaluation: macros calling macros, blocks in blocks
  size_t output_bytes = 4u << 20;    // of the rendering
  size_t memory_bytes = 256u << 20;  // of intermediate values alive at one time
};

struct RenderOptions {
  ChatTemplateLimits limits = {};
  // Variables whose text is the template's own, not data: the model's special tokens.
  std::span<const std::string_view> own_variables = {};
  std::optional<std::tm> now = {};  // what strftime_now() shows; the local time when absent
};

// What a template expects in a message's "content". Found by rendering one message both ways: see content_style().
enum class ContentStyle {
  kText,   // a string; typed parts come out as their Python notation, or as nothing
  kParts,  // a list of {"type": "text", "text": ...}; a string is not shown
  kEither,
};

class ChatTemplate {
 public:
  // Throws Error: kCorrupt for a syntax error, kUnsupported for a tag, filter or test that this engine lacks, kLimit
  // for a template too large or too deeply nested. Messages name the line.
  static ChatTemplate parse(std::string source);

  // Renders with these variables. Hugging Face always gives messages, tools, documents (null when there are none) and
  // add_generation_prompt, then bos_token, eos_token and the other special tokens; chat_context() below does the same.
  // The text knows which of its bytes came from the variables. Roles of messages do not count as such: they are words
  // of the API, and templates make names of tokens of them. Throws Error: kInvalidArgument with the text of
  // raise_exception(), or for anything that Python would refuse (for example a missing key used as a string); kLimit
  // when a budget is spent; kUnsupported for a construct this engine lacks. Messages name the line.
  MarkedText render(const json::object& context, const RenderOptions& options = {}) const;

  // Whether the template reads a variable of this name: "tools", "documents", "enable_thinking" ...
  bool uses(std::string_view variable) const;
  // Whether it reads an attribute or a constant subscript of this name on anything: "tool_calls", "reasoning_content".
  bool reads_field(std::string_view name) const;
  // Found when the template is parsed: a user message is rendered once with a string and once with one text part. A
  // form counts as supported when its text appears in the output and, for parts, the notation of the part does not.
  // Templates that show neither (they need more context than this test gives) count as kText.
  ContentStyle content_style() const;
  // Found as well: an assistant's message that calls a tool is rendered with null for its content. False when that
  // fails or writes Python's None.
  bool handles_null_content() const;

 private:
  struct State;
  explicit ChatTemplate(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

// The variables of a request as Hugging Face names them. `tools` and `documents` may be null.
json::object chat_context(json::value messages, json::value tools, json::value documents, bool add_generation_prompt);

}  // namespace quire
