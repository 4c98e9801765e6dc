# The template engine's part of the text floor.
set(JINJA_SOURCES
  chat_template.cpp
  jinja/attributes.cpp jinja/expressions.cpp jinja/filters.cpp jinja/filters_number.cpp jinja/filters_select.cpp
  jinja/filters_sequence.cpp jinja/filters_text.cpp jinja/format.cpp jinja/format_spec.cpp jinja/functions.cpp
  jinja/interpreter.cpp jinja/lexer.cpp jinja/loop.cpp jinja/operators.cpp jinja/parser.cpp jinja/runtime.cpp
  jinja/scopes.cpp jinja/string_methods.cpp jinja/tests.cpp jinja/unicode.cpp jinja/value.cpp)
set(JINJA_TESTS
  chat_template_test.cpp jinja/jinja_test.cpp)
