// The language in small pieces, whitespace, errors, and what hostile templates can cost. Expected texts are Python's.
#include <gtest/gtest.h>

#include "base/error.h"
#include "jinja/chat_template.h"

namespace quire {
namespace {

json::object sample_context() {
  return {{"s", "Grüße 😀"},     {"l", {3, 1, 2}},      {"d", {{"a", 1}, {"items", 5}}},
          {"nothing", nullptr}, {"x", "from outside"}, {"rows", {{{"n", 2}, {"k", "b"}}, {{"n", 1}, {"k", "a"}}}}};
}

std::string render(const std::string& source) { return ChatTemplate::parse(source).render(sample_context()).text; }

struct Refusal {
  ErrorCode code;
  std::string message;
};

Refusal refusal(const std::string& source, const RenderOptions& options = {}) {
  try {
    const std::string text = ChatTemplate::parse(source).render(sample_context(), options).text;
    ADD_FAILURE() << "rendered " << text.size() << " bytes from " << source.substr(0, 80);
    return {ErrorCode::kIo, ""};
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
}

std::string repeated(const std::string& text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

struct Example {
  const char* source;
  const char* expected;
};

void expect_all(std::initializer_list<Example> examples) {
  for (const Example& example : examples) {
    SCOPED_TRACE(example.source);
    try {
      EXPECT_EQ(render(example.source), example.expected);
    } catch (const Error& error) {
      ADD_FAILURE() << error.what();
    }
  }
}

TEST(Jinja, Numbers) {
  expect_all(
      {{"{{ 7 // -2 }} {{ 7 % -3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 6 / 3 }}", "-4 -2 2 3.5 2.0"},
       {"{{ 2 ** 3 ** 2 }} {{ 2 ** -1 }} {{ -1 | abs }}", "64 0.5 1"},
       {"{{ 1e16 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }} {{ 1.0 }}", "1e+16 1000000000000000.0 0.0001 1e-05 1.0"},
       {"{{ 0.1 + 0.2 }} {{ 1 == 1.0 == true }} {{ 18446744073709551615 }}",
        "0.30000000000000004 True 18446744073709551615"},
       {"{{ 2.675 | round(2) }} {{ 0.5 | round }} {{ 25 | round(-1) }} {{ 1.2 | round(method='ceil') }}",
        "2.67 0.0 20 2.0"},
       {"{{ '42.9' | int }} {{ '0x1f' | int(base=16) }} {{ 'x' | int(7) }} {{ ' 1_000 ' | int }}", "42 31 7 1000"}});
}

TEST(Jinja, Strings) {
  expect_all(
      {{"{{ s[2] }}{{ s[-1] }} {{ s[1:4] }} {{ s[::-1] }} {{ s | length }}", "ü😀 rüß 😀 eßürG 7"},
       {"{{ s.upper() }} {{ 'ﬁn ΑΣ'.lower() }} {{ s.find('😀') }}", "GRÜSSE 😀 ﬁn ας 6"},
       {"{{ ['a\\'b', \"c\", '\\n\\u200b'] }}", "[\"a'b\", 'c', '\\n\\u200b']"},
       {"{{ 'a' 'b' ~ 1 ~ none }} {{ 'ab' * 2 }} {{ '%05.1f|%-4s|%x' % (3.14159, 'é', 255) }}",
        "ab1None abab 003.1|é   |ff"},
       {"{{ '{0}{1!r:>5}{x.a}{{}}'.format(1, 'a', x=d) }}", "1  'a'1{}"},
       {"{{ 'a\\u2028b\\r\\nc'.splitlines() }} {{ ' a  b '.split() }} {{ 'a,b,c'.rsplit(',', 1) }}",
        "['a', 'b', 'c'] ['a', 'b'] ['a,b', 'c']"},
       {"{{ '<b>' | e }} {{ ('<b>' | safe) + '<i>' }} {{ ('<b>' | safe) ~ '<i>' }}", "&lt;b&gt; <b>&lt;i&gt; <b><i>"}});
}

TEST(Jinja, Containers) {
  expect_all({{"{{ d.items() }} {{ d['items'] }} {{ d.a }} {{ d.zzz is defined }}",
               "dict_items([('a', 1), ('items', 5)]) 5 1 False"},
              {"{{ (1,) }} {{ () }} {{ [1, 'a', none, 1.5] }} {{ {'k': [true]} }}",
               "(1,) () [1, 'a', None, 1.5] {'k': [True]}"},
              {"{{ l | sort }} {{ l | sort(reverse=true) }} {{ rows | map(attribute='k') | join('-') }}",
               "[1, 2, 3] [3, 2, 1] b-a"},
              {"{{ rows | groupby('n') }}", "[(1, [{'n': 1, 'k': 'a'}]), (2, [{'n': 2, 'k': 'b'}])]"},
              {"{{ 1 in l }} {{ 'a' in d }} {{ 'üß' in s }} {{ 4 not in l }}", "True True True True"},
              {"{{ d | tojson(indent=1) }} {{ [s, 1e-7] | tojson(ensure_ascii=true) }}",
               "{\n \"a\": 1,\n \"items\": 5\n} [\"Gr\\u00fc\\u00dfe \\ud83d\\ude00\", 1e-07]"},
              {"{% set g = l | select('gt', 1) %}{{ g | list }}{{ g | list }}", "[3, 2][]"},
              {"{{ range(10)[2:8:3] | list }} {{ range(3) }}", "[2, 5] range(0, 3)"}});
}

TEST(Jinja, Statements) {
  expect_all(
      {{"{% for a in l %}{{ loop.index }}{{ a }}{{ ',' if not loop.last }}{% endfor %}", "13,21,32"},
       {"{% for a in [] %}x{% else %}none{% endfor %}", "none"},
       {"{% for a in l if a > 1 %}{{ a }}/{{ loop.length }} {% endfor %}", "3/2 2/2 "},
       {"{% for a in [[1, [2]], [3]] recursive %}({{ a if a is number else loop(a) }}){% endfor %}", "((1)((2)))((3))"},
       {"{% macro m(a, b=a) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1) }} {{ m(1, 2, 3, z=4) }}",
        "11(){} 12(3,){'z': 4}"},
       {"{% macro m() %}[{{ caller(5) }}]{% endmacro %}{% call(v) m() %}{{ v + 1 }}{% endcall %}", "[6]"},
       {"{% set ns = namespace(n=0) %}{% for a in l %}{% set ns.n = ns.n + a %}{% endfor %}{{ ns.n }}", "6"},
       {"{% set a, (b, c) = 1, [2, 3] %}{{ a }}{{ b }}{{ c }}", "123"},
       {"{% set t | upper %}a{{ 1 }}{% endset %}{{ t }}{% filter trim %} b {% endfilter %}", "A1b"},
       {"{% with a = 1, b = x %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}", "1from outsideFalse"},
       {"{% generation %}hi{% set q = 1 %}{% endgeneration %}{{ q is defined }}", "hiFalse"},
       {"{% for a in l %}{% if a == 1 %}{% continue %}{% endif %}{% if a == 2 %}{% break %}{% endif %}{{ a }}{% endfor "
        "%}",
        "3"}});
}

// Jinja's compiler decides which scope a name belongs to; these differ from looking the name up when it is needed.
TEST(Jinja, ScopesAreStatic) {
  expect_all(
      {{"{% for i in [1] %}{{ x }}{% endfor %}{% set x = 5 %}{{ x }}", "5"},
       {"{% for i in [1, 2] %}{{ x }};{% set x = i %}{% endfor %}{{ x }}", "from outside;from outside;from outside"},
       {"{% if false %}{% set x = 1 %}{% endif %}{{ x }}", "from outside"},
       {"{% macro m() %}{{ late }}{% endmacro %}{% set late = 1 %}{{ m() }}", "1"},
       {"{% for i in [1] %}{% break %}{% else %}E{% endfor %}", "E"}});
}

TEST(Jinja, Whitespace) {
  expect_all({{"  {% if true %}\n  a\n  {% endif %}\nb\n", "  a\nb"},
              {"x {%- if true -%} a {%- endif %} y", "xa y"},
              {"  {%+ if true %}a{% endif +%}\nb", "  a\nb"},
              {"a\n  {# c #}\nb {#- d -#} c", "a\nbc"},
              {"{% raw %}{{ x }}{% endraw %}|{%- raw -%} {% if %} {%- endraw -%} |", "{{ x }}|{% if %}|"},
              {"a\r\nb\n\n", "a\nb\n"},
              {"\u00a0{{- 1 -}}\u2003z", "1z"},
              {"{ {a} {{ '}}' }} {{ {'a': {}} }}", "{ {a} }} {'a': {}}"}});
}

TEST(Jinja, UndefinedValuesFailOnlyWhenUsed) {
  expect_all(
      {{"[{{ nope }}][{{ (nope.a is defined) if nope }}][{{ nope | default('z') }}][{{ nope ~ 1 }}]", "[][][z][1]"},
       {"{{ nope | length }} {{ nope in l }} {{ nope == nada }} {% for a in nope %}x{% endfor %}", "0 False True "}});
  EXPECT_NE(refusal("{{ nope.a }}").message.find("'nope' is undefined"), std::string::npos);
  EXPECT_EQ(refusal("{{ nope + 1 }}").code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(refusal("{{ nope() }}").code, ErrorCode::kInvalidArgument);
}

TEST(Jinja, SandboxKeepsValuesAndInternalsAway) {
  for (const char* source : {"{{ l.append(1) }}", "{{ d.update({}) }}", "{{ d.pop('a') }}", "{{ ''.__class__.mro }}",
                             "{{ x.__init__() }}", "{% set ns = namespace() %}{% set ns._a = 1 %}",
                             "{{ namespace(_a=1) }}", "{% set d.a = 1 %}", "{{ '{0.__class__.x}'.format(1) }}"}) {
    EXPECT_EQ(refusal(source).code, ErrorCode::kInvalidArgument) << source;
  }
  EXPECT_EQ(render("{{ l.append }}{{ ''.__class__ }}{{ d.__class__ is defined }}"), "False");
}

TEST(Jinja, SyntaxErrorsNameTheLine) {
  for (const char* source : {"\n{{ 1 + }}", "\n{% if x %}", "\n{% endfor %}", "\n{{ 'a", "\n{# ", "\n{{ (1] }}",
                             "\n{% for %}", "\n{% break %}", "\n{% set loop.x %}", "\n{{ a b }}", "\n{% raw %}",
                             "\n{{ '\\ud83d' }}", "\n{% for loop in l %}{% endfor %}", "\n{{ f(a=1, a=2) }}",
                             "\n{% macro f(a=1, b) %}{% endmacro %}", "\n\xff"}) {
    const Refusal found = refusal(source);
    EXPECT_EQ(found.code, ErrorCode::kCorrupt) << source;
    EXPECT_NE(found.message.find("line 2"), std::string::npos) << source << ": " << found.message;
  }
  for (const char* source :
       {"{% include 'a' %}", "{% block b %}{% endblock %}", "{{ x | nosuch }}", "{{ x is nosuch }}"}) {
    EXPECT_EQ(refusal(source).code, ErrorCode::kUnsupported) << source;
  }
  EXPECT_EQ(render("{% if false %}{{ x | nosuch }}{% endif %}ok"), "ok");  // as in Jinja: unknown until used
}

TEST(JinjaBudgets, Nesting) {
  constexpr size_t kDeep = 60'000;
  for (const std::string& source :
       {"{{ " + repeated("(", kDeep) + "1" + repeated(")", kDeep) + " }}",
        "{{ " + repeated("[", kDeep) + repeated("]", kDeep) + " }}",
        "{{ " + repeated("{1:", kDeep) + "1" + repeated("}", kDeep) + " }}", "{{ " + repeated("not ", kDeep) + "1 }}",
        "{{ " + repeated("-", kDeep) + "1 }}", "{{ " + repeated("1 + ", kDeep) + "1 }}",
        "{{ x" + repeated(".a", kDeep) + " }}", "{{ x" + repeated("|e", kDeep) + " }}",
        "{{ x" + repeated("()", kDeep) + " }}", "{{ " + repeated("1 if 1 else ", 40'000) + "1 }}",
        "{{ 1" + repeated(" if 1", kDeep) + " }}", "{{ " + repeated("f(", kDeep) + repeated(")", kDeep) + " }}",
        "{{ 1" + repeated(" is in x", kDeep) + " }}",
        "{% set " + repeated("(", kDeep) + "a" + repeated(",)", kDeep) + " = 1 %}"}) {
    EXPECT_EQ(refusal(source).code, ErrorCode::kLimit) << source.substr(0, 20);
  }
  EXPECT_EQ(refusal(repeated("{% if 1 %}", 20'000) + repeated("{% endif %}", 20'000)).code, ErrorCode::kLimit);
  EXPECT_EQ(refusal("{% if x %}" + repeated("{% elif x %}", 40'000)).code,
            ErrorCode::kCorrupt);  // flat, only unfinished
  EXPECT_EQ(refusal(std::string(2u << 20, 'x')).code, ErrorCode::kLimit);
}

TEST(JinjaBudgets, Recursion) {
  for (const char* source :
       {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{% if 1 %}{% set a %}{{ f(n) ~ '' }}{% endset %}{% endif %}{% endmacro %}{{ f(1) }}",
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% macro f() %}{{ caller() }}{% endmacro %}{% macro g() %}{% call f() %}{{ g() }}{% endcall %}{% endmacro "
        "%}{{ g() }}",
        "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
        "{% set ns = namespace(a=[]) %}{% for i in range(9999) %}{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a }}",
        "{% set ns = namespace(a=[]) %}{% for i in range(9999) %}{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a | tojson "
        "}}",
        "{% set ns = namespace(a=1, b=1) %}{% for i in range(9999) %}{% set ns.a = (ns.a,) %}{% set ns.b = (ns.b,) "
        "%}{% endfor %}{{ ns.a == ns.b }}",
        "{% set ns = namespace(a=[1]) %}{% for i in range(30000) %}{% set ns.a = ns.a | map('abs') %}{% endfor %}{{ "
        "ns.a | list }}",
        "{% set ns = namespace(a=[1]) %}{% for i in range(30000) %}{% set ns.a = ns.a | select %}{% endfor %}{{ ns.a "
        "| list }}",
        "{% set ns = namespace(a=[1]) %}{% for i in range(30000) %}{% set ns.a = ns.a | unique %}{% endfor %}{{ ns.a "
        "| list }}"}) {
    EXPECT_EQ(refusal(source).code, ErrorCode::kLimit) << source;
  }
  // Too deep to be a key at all.
  EXPECT_EQ(
      refusal(
          "{% set ns = namespace(a=1) %}{% for i in range(9999) %}{% set ns.a = (ns.a,) %}{% endfor %}{{ {ns.a: 1} }}")
          .code,
      ErrorCode::kInvalidArgument);
}

TEST(JinjaBudgets, Work) {
  for (const char* source :
       {"{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}",
        "{{ range(1000000000) | list }}",
        "{{ range(100000) | map('string') | map('length') | map('abs') | map('abs') | map('abs') | sum }}",
        "{% set s = 'a' * 1000000 %}{% for i in range(10000) %}{% if 'b' in s %}{% endif %}{% endfor %}",
        "{% set ns = namespace(a=[1]) %}{% for i in range(30) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a | "
        "string | length }}",
        "{% set a = 'a' * 1000000 %}{% for i in range(9999) %}{{ a.rfind('b' + a[:500000]) }}{% endfor %}",
        "{% set d = {'a' * 1000000: 1} %}{% for i in range(99999) %}{% set b = d['a' * 1000000] %}{% endfor %}",
        "{{ ((range(99999) | list) * 5) | sort | sort | sort | sort }}"}) {
    EXPECT_EQ(refusal(source).code, ErrorCode::kLimit) << source;
  }
}

TEST(JinjaBudgets, MemoryAndOutput) {
  for (const char* source :
       {"{{ ('a' * 1000000000000) | length }}", "{{ ([0] * 1000000000) | length }}", "{{ 'a' * 10 ** 30 }}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% for i in range(100000) %}{{ '0123456789' * 10 }}{% endfor %}", "{{ 'x' * 5000000 }}",
        "{% set s %}{{ 'x' * 5000000 }}{% endset %}", "{{ '%999999999d' % 1 }}", "{{ '{:999999999}'.format(1) }}",
        "{{ 'a'.center(10 ** 12) }}", "{{ ('a' * 100000).replace('', 'b' * 100000) | length }}",
        "{{ ('a' * 100000) | map('replace', 'a', 'b' * 100000) | join }}", "{{ 'a' | indent(10 ** 12, true) }}",
        "{{ [[[1]]] | tojson(indent=10 ** 9) }}", "{{ 2 ** 127 }}",
        "{{ 99999999999999999999999999999999999999999999 }}",
        "{{ ('a' * 100000).join(range(100000) | map('string')) | length }}"}) {
    EXPECT_EQ(refusal(source).code, ErrorCode::kLimit) << source;
  }
  RenderOptions small;
  small.limits.operations = 100;
  EXPECT_EQ(refusal("{% for i in range(200) %}{% endfor %}", small).code, ErrorCode::kLimit);
}

}  // namespace
}  // namespace quire
