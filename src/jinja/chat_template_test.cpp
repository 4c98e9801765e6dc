// Real templates against what Python's jinja2 makes of them.
#include "jinja/chat_template.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/error.h"
#include "base/mapped_file.h"

namespace quire {
namespace {

constexpr size_t kMaxFileBytes = 16u << 20;

// The moment all expected texts were rendered at: Thursday, 10 July 2025, noon.
RenderOptions at_noon() {
  RenderOptions options;
  std::tm now{};
  now.tm_year = 125;
  now.tm_mon = 6;
  now.tm_mday = 10;
  now.tm_hour = 12;
  now.tm_wday = 4;
  now.tm_yday = 190;
  options.now = now;
  return options;
}

std::optional<std::filesystem::path> templates_folder() {
  const char* data = std::getenv("QUIRE_TEST_DATA");
  if (data == nullptr) return std::nullopt;
  return std::filesystem::path(data) / "templates";
}

std::string render(const std::string& source, const json::object& context) {
  return ChatTemplate::parse(source).render(context, at_noon()).text;
}

std::string error_of(const std::string& source, const json::object& context, ErrorCode code) {
  try {
    const std::string text = render(source, context);
    ADD_FAILURE() << "rendered: " << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return "";
}

// `expected` is {"output": text} or {"error": message}; of errors only that there is one counts.
void expect_like_python(const std::string& name, const std::string& source, const json::object& context,
                        const json::object& expected) {
  SCOPED_TRACE(name);
  if (expected.contains("output")) {
    EXPECT_NO_THROW(EXPECT_EQ(render(source, context), expected.at("output").get_string()));
  } else {
    EXPECT_THROW(render(source, context), Error);
  }
}

json::object read_cases(const std::filesystem::path& path) { return read_json_file(path, kMaxFileBytes).get_object(); }

TEST(ChatTemplateCases, LanguageFeatures) {
  const auto folder = templates_folder();
  if (!folder) GTEST_SKIP() << "QUIRE_TEST_DATA is not set";
  const json::object file = read_cases(*folder / "hfjs_jinja_cases.json");
  for (const json::value& entry : file.at("cases").get_array()) {
    const json::object& item = entry.get_object();
    if (item.at("python_jinja2").is_null()) continue;  // its context holds functions
    expect_like_python(get_string(item, "name"), get_string(item, "template"), item.at("context").get_object(),
                       item.at("python_jinja2").get_object());
  }
}

TEST(ChatTemplateCases, HuggingFaceTemplates) {
  const auto folder = templates_folder();
  if (!folder) GTEST_SKIP() << "QUIRE_TEST_DATA is not set";
  const json::object file = read_cases(*folder / "hfjs_chat_templates_expected.json");
  for (const json::value& entry : file.at("cases").get_array()) {
    const json::object& item = entry.get_object();
    if (item.at("python_jinja2").is_null()) continue;
    expect_like_python(get_string(item, "name"), get_string(item, "chat_template"), item.at("data").get_object(),
                       item.at("python_jinja2").get_object());
  }
}

TEST(ChatTemplateCases, LlamaCppTemplates) {
  const auto folder = templates_folder();
  if (!folder) GTEST_SKIP() << "QUIRE_TEST_DATA is not set";
  const json::object file = read_cases(*folder / "llamacpp_chat_template_cases.json");
  for (const json::value& entry : file.at("cases").get_array()) {
    const json::object& item = entry.get_object();
    if (item.at("python_jinja2").is_null()) continue;
    json::array messages = file.at("conversation").get_array();
    for (const json::value& message : item.at("extra_conversation").get_array()) messages.push_back(message);
    const json::object context = {{"messages", std::move(messages)},
                                  {"add_generation_prompt", file.at("add_generation_prompt")},
                                  {"bos_token", item.at("bos_token")},
                                  {"eos_token", item.at("eos_token")}};
    expect_like_python(get_string(item, "name"), get_string(item, "template"), context,
                       item.at("python_jinja2").get_object());
  }
}

// As tools/jinja_oracle.py writes it: FNV-1a and length of the text, or "raises".
std::string fingerprint(const ChatTemplate& chat_template, const json::object& context) {
  std::string text;
  try {
    text = chat_template.render(context, at_noon()).text;
  } catch (const Error&) {
    return "raises";
  }
  uint64_t hash = 0xCBF29CE484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return fmt::format("{:016x}-{}", hash, text.size());
}

TEST(ChatTemplateOracle, AllTemplatesInAllContexts) {
  const auto folder = templates_folder();
  if (!folder) GTEST_SKIP() << "QUIRE_TEST_DATA is not set";
  const json::object file = read_cases(std::filesystem::path(QUIRE_SOURCE_DIR) / "tests/data/jinja_expected.json");
  size_t num_compared = 0;
  for (const auto& [template_name, row] : file.at("expected").get_object()) {
    const auto path = *folder / std::string(template_name);
    if (!std::filesystem::exists(path)) continue;
    const ChatTemplate chat_template = ChatTemplate::parse(read_text_file(path, kMaxFileBytes));
    for (const auto& [context_name, expected] : row.get_object()) {
      const json::object& context = file.at("contexts").at(context_name).get_object();
      EXPECT_EQ(fingerprint(chat_template, context), expected.get_string()) << template_name << " " << context_name;
      ++num_compared;
    }
  }
  EXPECT_GT(num_compared, 1000u);
}

// The spans of a text that may name a token: <...> without blanks, and [...] in capitals.
std::vector<TextSpan> find_names(std::string_view text) {
  std::vector<TextSpan> names;
  for (size_t begin = text.find_first_of("<["); begin != std::string::npos;
       begin = text.find_first_of("<[", begin + 1)) {
    const bool angular = text[begin] == '<';
    const std::string_view rest = text.substr(begin + 1);
    const size_t size =
        angular ? rest.find_first_of("<> \n\t\"'") : rest.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_/");
    if (size == 0 || size == std::string::npos || rest[size] != (angular ? '>' : ']')) continue;
    names.push_back({begin, begin + size + 2});
  }
  return names;
}

// A template writes every name of a token as a whole, also where it composes it of a role; names in messages are data
// as a whole. Half of each are only elements that are named after a tool or a parameter, which are no tokens.
TEST(ChatTemplateOracle, NamesOfTokensAreNeverHalfData) {
  const auto folder = templates_folder();
  if (!folder) GTEST_SKIP() << "QUIRE_TEST_DATA is not set";
  const json::object file = read_cases(std::filesystem::path(QUIRE_SOURCE_DIR) / "tests/data/jinja_expected.json");
  constexpr std::string_view kModelVariables[] = {"bos_token", "eos_token", "unk_token", "pad_token"};
  RenderOptions options = at_noon();
  options.own_variables = kModelVariables;
  size_t num_own = 0;
  size_t num_data = 0;
  for (const auto& [template_name, row] : file.at("expected").get_object()) {
    const auto path = *folder / std::string(template_name);
    if (!std::filesystem::exists(path)) continue;
    const ChatTemplate chat_template = ChatTemplate::parse(read_text_file(path, kMaxFileBytes));
    for (const auto& [context_name, expected] : row.get_object()) {
      if (expected.get_string() == "raises") continue;
      const json::object& context = file.at("contexts").at(context_name).get_object();
      const MarkedText shown = chat_template.render(context, options);
      for (const TextSpan name : find_names(shown.text)) {
        const auto span = std::ranges::upper_bound(shown.data, name.begin, {}, &TextSpan::end);
        const bool own = span == shown.data.end() || span->begin >= name.end;
        const bool data = !own && span->begin <= name.begin && span->end >= name.end;
        const std::string_view text = std::string_view(shown.text).substr(name.begin, name.end - name.begin);
        const bool element = text[0] == '<' && text[1] != '|' && static_cast<unsigned char>(text[1]) < 0x80;
        const bool of_tool = element && (!context.at("tools").is_null() ||
                                         json::serialize(context).find("tool_calls") != std::string::npos);
        EXPECT_TRUE(own || data || of_tool) << template_name << " " << context_name << " " << text;
        num_own += own ? 1 : 0;
        num_data += data ? 1 : 0;
      }
    }
  }
  EXPECT_GT(num_own, 1000u);
  EXPECT_GT(num_data, 50u);
}

// A long but honest conversation stays far inside the default budgets.
TEST(ChatTemplateOracle, LongConversationsFitTheBudgets) {
  const auto folder = templates_folder();
  if (!folder) GTEST_SKIP() << "QUIRE_TEST_DATA is not set";
  json::array messages;
  for (int i = 0; i < 100; ++i) {
    messages.push_back(json::object{{"role", "user"}, {"content", std::string(2000, 'q')}});
    messages.push_back(json::object{{"role", "assistant"}, {"content", std::string(2000, 'a')}});
  }
  messages.push_back(json::object{{"role", "user"}, {"content", "And?"}});
  json::object context = chat_context(std::move(messages), nullptr, nullptr, true);
  for (const char* token : {"bos_token", "eos_token"}) context[token] = "";
  for (const auto& file : std::filesystem::directory_iterator(*folder)) {
    if (file.path().extension() != ".jinja") continue;
    try {
      ChatTemplate::parse(read_text_file(file.path(), kMaxFileBytes)).render(context, at_noon());
    } catch (const Error& error) {
      EXPECT_NE(error.code(), ErrorCode::kLimit) << file.path().filename() << ": " << error.what();
    }
  }
}

TEST(ChatTemplate, RaiseExceptionReportsItsMessageAndLine) {
  const std::string message = error_of("a\n{% if true %}\n{{ raise_exception('Roles must alternate!') }}{% endif %}",
                                       {}, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(message.starts_with("Roles must alternate!")) << message;
  EXPECT_NE(message.find("line 3"), std::string::npos) << message;
}

TEST(ChatTemplate, ClockIsInjected) {
  EXPECT_EQ(render("{{ strftime_now('%Y-%m-%d %H:%M %A %j %-d %B') }}", {}), "2025-07-10 12:00 Thursday 191 10 July");
  EXPECT_EQ(render("{{ strftime_now('%9999d|%') }}", {}), "%9999d|%");
}

TEST(ChatTemplate, KnowsWhichVariablesItReads) {
  const auto parsed = ChatTemplate::parse(
      "{% for m in messages %}{{ m.content }}{{ m['tool_calls'] }}{% endfor %}{% if tools %}{% endif %}");
  EXPECT_TRUE(parsed.uses("tools"));
  EXPECT_TRUE(parsed.uses("messages"));
  EXPECT_FALSE(parsed.uses("enable_thinking"));
  EXPECT_FALSE(parsed.uses("content"));
  EXPECT_TRUE(parsed.reads_field("content"));
  EXPECT_TRUE(parsed.reads_field("tool_calls"));
  EXPECT_FALSE(parsed.reads_field("reasoning_content"));
}

TEST(ChatTemplate, DetectsTheContentStyle) {
  const auto style = [](const std::string& body) {
    return ChatTemplate::parse("{% for m in messages %}" + body + "{% endfor %}").content_style();
  };
  EXPECT_EQ(style("{{ m.content }}"), ContentStyle::kText);
  EXPECT_EQ(style("{{ m.content + 'x' }}"), ContentStyle::kText);
  EXPECT_EQ(style("{% for p in m.content %}{{ p.text }}{% endfor %}"), ContentStyle::kParts);
  EXPECT_EQ(style("{% if m.content is string %}{{ m.content }}{% else %}{{ m.content[0]['text'] }}{% endif %}"),
            ContentStyle::kEither);
  EXPECT_EQ(style("{{ m.content | tojson }}"), ContentStyle::kText);
  EXPECT_EQ(style("{{ raise_exception('no') }}"), ContentStyle::kText);
}

// The text with its data in braces.
std::string with_marks(const MarkedText& marked) {
  std::string out;
  size_t at = 0;
  for (const TextSpan span : marked.data) {
    out += marked.text.substr(at, span.begin - at) + "{" + marked.text.substr(span.begin, span.end - span.begin) + "}";
    at = span.end;
  }
  return out + marked.text.substr(at);
}

TEST(ChatTemplate, KnowsWhichBytesAreData) {
  const json::object context = {{"t", " ab <x> ab "},
                                {"n", 5},
                                {"bos_token", "<s>"},
                                {"d", json::object{{"k", "v"}}},
                                {"l", json::array{"p", "q"}},
                                {"f", "{0:<>1}{0:|>1}x{0:>>1}"},
                                {"g", "<%3d%%"},
                                {"messages", json::array{json::object{{"role", "user"}, {"content", "hi"}},
                                                         json::object{{"role", "<x>"}, {"content", "ho"}}}}};
  constexpr std::string_view kOwn[] = {"bos_token"};
  const auto expect = [&](const char* source, const char* expected) {
    const MarkedText shown = ChatTemplate::parse(source).render(context, {.own_variables = kOwn});
    EXPECT_EQ(with_marks(shown), expected) << source;
  };
  // What is printed.
  expect("<x>{{ t }}<x>", "<x>{ ab <x> ab }<x>");
  expect("{{ bos_token }}{{ n }}{{ true }}{{ none }}{{ missing }}", "<s>5TrueNone");
  expect("{{ l }}{{ d }}", "[{'p'}, {'q'}]{{'k'}: {'v'}}");
  expect("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}", "<|user|>{hi}<|{<x>}|>{ho}");
  // Joined and cut: each byte keeps what it is.
  expect("{{ '[' + t + ']' }}{{ '<' ~ t ~ n ~ '>' }}", "[{ ab <x> ab }]<{ ab <x> ab }5>");
  expect("{{ ('[' + t + ']') | trim }}{{ t | trim }}{{ t.strip() }}", "[{ ab <x> ab }]{ab <x> abab <x> ab}");
  expect("{% set s = 'c' ~ l[0] ~ 'd' %}{{ s[1:] }}|{{ s[::-1] }}|{{ s[1] }}{{ s[-1] }}|{{ s * 2 }}",
         "{p}d|d{p}c|{p}d|c{p}dc{p}d");
  expect("{% for c in 'a' ~ l[0] %}{{ c }}.{% endfor %}{{ ('a' ~ l[0]) | last }}", "a.{p}.{p}");
  expect("{{ (l[0] ~ ',b').split(',') | join('<') }}{{ l | join('<') }}{{ ','.join(l) }}", "{p}<b{p}<{qp},{q}");
  expect("{{ t.split('</x>')[-1].split('<x>')[0] }}{{ (l[0] ~ '-b').partition('-') | join }}", "{ ab p}-b");
  expect("{{ ('a' ~ l[0] ~ 'a').replace('a', '<x>') }}{{ 'a' | replace('a', t) }}", "<x>{p}<x>{ ab <x> ab }");
  expect("{{ l[0].replace('p', '<x>') }}{{ (l[0] ~ 'z').removeprefix('p') }}", "<x>z");
  expect("{{ (l[0] ~ '\n' ~ l[1]) | indent(1) }}{{ l[0] | center(3) }}{{ l[0].ljust(2) }}", "{p}\n {q} {p} {p} ");
  // Made of data's characters: data as a whole.
  expect("{{ l[0] | upper }}{{ 'x' | upper }}{{ ('x' ~ l[0]) | title }}", "{P}X{Xp}");
  expect("{{ {'a': l, '<x>': 1} | tojson }}{{ t | trim | tojson }}",
         "{\"a\": [{\"p\"}, {\"q\"}], \"<x>\": 1}{\"ab <x> ab\"}");
  expect("{{ '%s-%d-%5s' | format(l[0], n, l[1]) }}{{ '{}<{:>3}'.format(l[0], l[1]) }}", "{p}-5-{    qp}<{  q}");
  expect("{{ '%c%c' % (60, 120) }}{{ l[0] | urlencode }}{{ '<' | escape }}{{ '<' ~ l[0] | escape }}", "{<xp}&lt;<{p}");
  expect("{{ 'x'.ljust(3, l[0]) }}{{ 'x'.rjust(2, l[0]) }}{{ 'x'.center(3, l[1]) }}", "x{ppp}x{q}x{q}");
  expect("{{ '{:{}>2}'.format('x', l[0]) }}{{ '{:{}}'.format('x', 2) }}", "{px}x ");
  expect("{{ ('<{:.<2}' ~ l[0]).format('x') }}{{ (l[0] ~ '%s') % 'x' }}", "<x.{pp}x");
  expect("{{ f.format('') }}{{ g % 5 }}", "{<|x><  5%}");
  // Through names, captures, macros and arguments.
  expect("{% set s %}<{{ t | trim }}>{% endset %}{{ s }}", "<{ab <x> ab}>");
  expect("{% macro m(a) %}<{{ a }}{{ kwargs }}>{% endmacro %}{{ m(l[0], b=1) }}{{ m('a', **d) }}",
         "<{p}{{'b'}: 1}><a{{'k'}: {'v'}}>");
  expect(
      "{% filter trim %} <{{ l[0] }} {% endfilter %}{% set ns = namespace(a='') %}{% set ns.a = ns.a ~ l[1] %}{{ ns.a "
      "}}",
      "<{pq}");
  // A choice made by data is still the template's text.
  expect("{{ {'p': '<x>'}[l[0]] }}{{ '<y>' if l[0] == 'p' }}", "<x><y>");
}

TEST(ChatTemplate, ManyThreadsRenderOneTemplate) {
  const auto parsed = ChatTemplate::parse(
      "{% macro show(m) %}{{ m.role | upper }}: {{ m.content ~ '!' }}{% endmacro %}"
      "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ ns.n }} {{ show(m) }}\n{% "
      "endfor %}");
  json::array messages;
  for (int i = 0; i < 50; ++i) messages.push_back(json::object{{"role", "user"}, {"content", "é" + std::to_string(i)}});
  const json::object context = chat_context(messages, nullptr, nullptr, true);
  const std::string expected = parsed.render(context).text;
  std::vector<std::thread> threads;
  std::vector<int> num_equal(4, 0);
  for (int& equal : num_equal) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) equal += parsed.render(context).text == expected ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(num_equal, std::vector<int>(4, 20));
}

}  // namespace
}  // namespace quire
