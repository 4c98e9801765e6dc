#include "jinja/chat_template.h"

#include "base/error.h"
#include "jinja/interpreter.h"
#include "jinja/parser.h"

namespace quire {
namespace {

std::tm local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  return parts;
}

MarkedText render_parsed(const jinja::Template& parsed, const json::object& context, const RenderOptions& options) {
  const jinja::Limits limits{options.limits.operations, options.limits.depth, options.limits.output_bytes,
                             options.limits.memory_bytes};
  jinja::Runtime runtime(limits, options.now ? *options.now : local_time());
  jinja::Interpreter interpreter(parsed, context, options.own_variables, runtime);
  return interpreter.render();
}

constexpr std::string_view kProbe = "quire-content-probe";

// The rendering of these messages, or "" when the template refuses them.
std::string probe(const jinja::Template& parsed, json::array messages) {
  json::object context = chat_context(std::move(messages), nullptr, nullptr, false);
  for (const char* token : {"bos_token", "eos_token", "unk_token", "pad_token"}) context[token] = "";
  try {
    return render_parsed(parsed, context, {}).text;
  } catch (const Error&) {
    return "";
  }
}

json::array user_message(json::value content) {
  return {json::object{{"role", "user"}, {"content", std::move(content)}}};
}

// With a call of a tool, or without for templates that know no tools.
bool finds_null_content(const jinja::Template& parsed) {
  const json::object call = {{"id", "callid123"},
                             {"type", "function"},
                             {"function", json::object{{"name", kProbe}, {"arguments", json::object{{"x", 1}}}}}};
  for (const bool with_call : {true, false}) {
    json::array messages = user_message(json::string(kProbe));
    json::object answer = {{"role", "assistant"}, {"content", nullptr}};
    if (with_call) answer["tool_calls"] = json::array{call};
    messages.push_back(answer);
    const std::string shown = probe(parsed, messages);
    if (shown.empty()) continue;
    return shown.find("None") == std::string::npos;
  }
  return false;
}

ContentStyle find_content_style(const jinja::Template& parsed) {
  const bool text = probe(parsed, user_message(json::string(kProbe))).find(kProbe) != std::string::npos;
  const std::string shown = probe(parsed, user_message(json::array{json::object{{"type", "text"}, {"text", kProbe}}}));
  const size_t at = shown.find(kProbe);
  const bool parts = at != std::string::npos && shown.find("'type'") == std::string::npos &&
                     shown.find("\"type\"") == std::string::npos;
  if (parts) return text ? ContentStyle::kEither : ContentStyle::kParts;
  return ContentStyle::kText;
}

}  // namespace

struct ChatTemplate::State {
  std::unique_ptr<const jinja::Template> parsed;
  ContentStyle content_style;
  bool handles_null_content;
};

ChatTemplate ChatTemplate::parse(std::string source) {
  auto state = std::make_shared<State>();
  state->parsed = jinja::parse_template(source);
  state->content_style = find_content_style(*state->parsed);
  state->handles_null_content = finds_null_content(*state->parsed);
  return ChatTemplate(std::move(state));
}

MarkedText ChatTemplate::render(const json::object& context, const RenderOptions& options) const {
  return render_parsed(*state_->parsed, context, options);
}

bool ChatTemplate::uses(std::string_view variable) const {
  const auto symbol = state_->parsed->symbol_of.find(std::string(variable));
  return symbol != state_->parsed->symbol_of.end() && state_->parsed->loaded.count(symbol->second) != 0;
}

bool ChatTemplate::reads_field(std::string_view name) const {
  return state_->parsed->fields.count(std::string(name)) != 0;
}

ContentStyle ChatTemplate::content_style() const { return state_->content_style; }

bool ChatTemplate::handles_null_content() const { return state_->handles_null_content; }

json::object chat_context(json::value messages, json::value tools, json::value documents, bool add_generation_prompt) {
  json::object context;
  context["messages"] = std::move(messages);
  context["tools"] = std::move(tools);
  context["documents"] = std::move(documents);
  context["add_generation_prompt"] = add_generation_prompt;
  return context;
}

}  // namespace quire
