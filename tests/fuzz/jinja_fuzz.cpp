// Any bytes as a chat template: parsing and rendering must end, within the budgets, in a text or an Error.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "jinja/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace quire;
  static const json::object context = {
      {"messages",
       {{{"role", "system"}, {"content", "Be brief."}},
        {{"role", "user"}, {"content", "Grüße 😀 <b>'\"\\\n"}},
        {{"role", "assistant"},
         {"content", nullptr},
         {"tool_calls", {{{"function", {{"name", "f"}, {"arguments", {{"a", 1.5}}}}}}}}},
        {{"role", "tool"}, {"content", {{{"type", "text"}, {"text", "part"}}}}}}},
      {"tools", nullptr},
      {"add_generation_prompt", true},
      {"bos_token", "<s>"},
      {"n", 7}};
  RenderOptions options;
  options.limits.operations = 20'000;
  options.limits.output_bytes = 1u << 18;
  options.limits.memory_bytes = 16u << 20;
  try {
    ChatTemplate::parse(std::string(reinterpret_cast<const char*>(data), size)).render(context, options);
  } catch (const Error&) {
  }
  return 0;
}
