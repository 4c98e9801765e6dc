// The fields of a request that are more than one value: messages, prompts, lists of tokens, stop strings, formats.
// Each reads one JSON value, never null, and throws ApiError naming the path. Pure functions, any thread.
#pragma once

#include <string>
#include <vector>

#include "server/schema/fields.h"

namespace quire {

// The arguments of an earlier call. Clients send them as a string that holds JSON; templates expect the object itself.
// Other text stays a string: a template that writes it still works.
json::value read_call_arguments(std::string_view arguments, const Limits& limits);
// Messages as dialogue renders them: content is a string, a list of text parts or null, the role developer becomes
// system, arguments of tool calls are objects.
json::array read_messages(const json::value& value, const ParseContext& context);
// A string, a list of strings, a list of token ids, or a list of such lists.
std::vector<PromptValue> read_prompts(const std::string& path, const json::value& value, const ParseContext& context);
// llama-server's: also a list that mixes texts and ids, which is one prompt.
std::vector<PromptValue> read_mixed_prompts(const std::string& path, const json::value& value,
                                            const ParseContext& context);
// A text, or an object with a text.
std::string read_document(const std::string& path, const json::value& value);
// A document or a list of them.
std::vector<PromptValue> read_documents(const std::string& path, const json::value& value, const ParseContext& context);
std::vector<int32_t> read_token_ids(const std::string& path, const json::value& value, const ParseContext& context,
                                    size_t max_entries);
// The only tokens that an answer may have, at least one.
std::shared_ptr<const std::vector<int32_t>> read_allowed_tokens(const json::value& value, const ParseContext& context);
// A list of at most `max_entries` strings of 1 to `max_bytes` bytes.
std::vector<std::string> read_strings(const std::string& path, const json::value& value, size_t max_entries,
                                      size_t max_bytes);
// A string or a list of strings.
std::vector<std::string> read_stop(const std::string& path, const json::value& value, const ParseContext& context);
std::vector<std::pair<int32_t, float>> read_logit_bias(const json::value& value, const ParseContext& context);
// The text that an answer is expected to be.
std::string read_prediction(const json::value& value);
void read_template_variables(ApiRequest& out, const json::value& value);
// How an API writes a tool; by default as OpenAI's chat does.
struct ToolForm {
  std::string_view type = "function";   // the only one that is known
  std::string_view place = "function";  // the member that has the others; empty: the tool itself
  std::string_view parameters = "parameters";
  std::string_view path = "tools";  // the field of the request
};
// A list of tools; each has a name that no other has.
std::vector<Tool> read_tools(const json::value& value, const ParseContext& context, const ToolForm& form = {});
// "none", "auto", "required", or the object that names a function, in the form of chat or of responses.
void read_tool_choice(ApiRequest& out, const json::value& value);
// The older form of tools, `functions`: one of them is called at most, and the answer has that form too.
void read_functions(ApiRequest& out, const json::value& value, const ParseContext& context);
// "none", "auto", or an object with the name of a function.
void read_function_call(ApiRequest& out, const json::value& value);
// What tools and tool_choice must fulfil together.
void check_tools(const ApiRequest& request);
Pooling read_pooling(const json::value& value);

}  // namespace quire
