// The formats that are checked: each is a regular expression of the whole string, from the RFC that defines it.
#include <array>
#include <string>

#include "grammar/json_schema/evaluator.h"

namespace quire::schema {
namespace {

// RFC 3339, with leap years and leap seconds in UTC.
const std::string kDate =
    R"((\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))|)"
    R"((\d\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29))";
const std::string kTime = R"((([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?([Zz]|[+\-]([01]\d|2[0-3]):[0-5]\d)|)"
                          R"(23:59:60(\.\d+)?([Zz]|[+\-]00:00)))";
const std::string kDuration =
    R"(P(\d+W|(\d+D|\d+M(\d+D)?|\d+Y(\d+M(\d+D)?)?)(T(\d+H(\d+M(\d+S)?)?|\d+M(\d+S)?|\d+S))?|)"
    R"(T(\d+H(\d+M(\d+S)?)?|\d+M(\d+S)?|\d+S)))";

// RFC 1123 and RFC 5321.
const std::string kLabel = "[A-Za-z0-9]([A-Za-z0-9\\-]{0,61}[A-Za-z0-9])?";
const std::string kHostname = kLabel + "(\\." + kLabel + ")*";
const std::string kAtom = R"([A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+)";
const std::string kOctet = "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const std::string kIpv4 = kOctet + "(\\." + kOctet + "){3}";

// RFC 4291: eight groups, or fewer around one "::", the last two perhaps as an IPv4 address.
std::string ipv6() {
  const std::string group = "[0-9A-Fa-f]{1,4}";
  const std::string last = "(" + group + ":" + group + "|" + kIpv4 + ")";
  std::string text = "((" + group + ":){6}" + last;
  for (int after = 5; after >= 0; --after) {
    const int before = 5 - after;  // at most one more than this is written before the "::"
    const std::string head =
        before == 0 ? "" : "((" + group + ":){0," + std::to_string(before - 1) + "}" + group + ")?";
    text += "|" + head + "::(" + group + ":){" + std::to_string(after) + "}" + last;
  }
  text += "|((" + group + ":){0,5}" + group + ")?::" + group;
  text += "|((" + group + ":){0,6}" + group + ")?::)";
  return text;
}

// RFC 3986; `more` are further characters, those of RFC 3987.
struct UriParts {
  std::string segment, authority, tail, scheme = R"([A-Za-z][A-Za-z0-9+.\-]*)";
};
UriParts uri_parts(const std::string& more) {
  const std::string unreserved = R"(A-Za-z0-9._~\-)" + more;
  const std::string sub_delimiters = "!$&'()*+,;=";
  const std::string escape = "%[0-9A-Fa-f]{2}";
  const auto any_of = [&](const std::string& set) {
    return "([" + unreserved + sub_delimiters + set + "]|" + escape + ")";
  };
  UriParts parts;
  parts.segment = any_of(":@");
  const std::string address = "\\[(" + ipv6() + "|[vV][0-9A-Fa-f]+\\.[A-Za-z0-9._~!$&'()*+,;=:\\-]+)\\]";
  parts.authority = "(" + any_of(":") + "*@)?(" + address + "|" + any_of("") + "*)(:\\d*)?";
  parts.tail = "(\\?" + any_of(":@/?") + "*)?(#" + any_of(":@/?") + "*)?";
  return parts;
}

std::string uri(const std::string& more) {
  const UriParts parts = uri_parts(more);
  const std::string rest = "(/" + parts.segment + "*)*";
  return parts.scheme + ":(//" + parts.authority + rest + "|/(" + parts.segment + "+" + rest + ")?|" + parts.segment +
         "+" + rest + "|)" + parts.tail;
}

std::string uri_reference(const std::string& more) {
  const UriParts parts = uri_parts(more);
  const std::string rest = "(/" + parts.segment + "*)*";
  std::string no_colon = parts.segment;
  no_colon.erase(no_colon.find(":@"), 1);
  return "(" + uri(more) + "|(//" + parts.authority + rest + "|/(" + parts.segment + "+" + rest + ")?|" + no_colon +
         "+" + rest + "|)" + parts.tail + ")";
}

const std::string kJsonPointer = R"((/([^~/]|~[01])*)*)";
// RFC 6570
const std::string kVariable =
    R"(([A-Za-z0-9_]|%[0-9A-Fa-f]{2})(\.?([A-Za-z0-9_]|%[0-9A-Fa-f]{2}))*(:[1-9]\d{0,3}|\*)?)";
const std::string kUriTemplate =
    R"(([^\x00-\x20"'%<>\\^`{|}]|%[0-9A-Fa-f]{2}|\{[+#./;?&=,!@|]?)" + kVariable + "(," + kVariable + R"()*\})*)";
const std::string kInternational = R"(\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef\u{10000}-\u{efffd})";

// Of ECMA-262, as far as a regular language tells: escapes and classes end, and no quantifier comes first. Groups are
// not counted.
const std::string kRegexPart = R"(\\[^]|\[([^\]\\]|\\[^])*\])";
const std::string kRegex = R"((([^\[\\*+?]|)" + kRegexPart + R"()([^\[\\]|)" + kRegexPart + ")*)?";

std::string expression_of(std::string_view format) {
  if (format == "date") return kDate;
  if (format == "time") return kTime;
  if (format == "date-time") return kDate + "[Tt]" + kTime;
  if (format == "duration") return kDuration;
  if (format == "email") return kAtom + "(\\." + kAtom + ")*@(" + kHostname + "|\\[" + kIpv4 + "\\])";
  if (format == "hostname") return kHostname;
  if (format == "ipv4") return kIpv4;
  if (format == "ipv6") return ipv6();
  if (format == "uuid") return "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}";
  if (format == "uri") return uri("");
  if (format == "uri-reference") return uri_reference("");
  if (format == "iri") return uri(kInternational);
  if (format == "iri-reference") return uri_reference(kInternational);
  if (format == "uri-template") return kUriTemplate;
  if (format == "json-pointer") return kJsonPointer;
  if (format == "regex") return kRegex;
  if (format == "relative-json-pointer") return "(0|[1-9]\\d*)(#|" + kJsonPointer + ")";
  return {};
}

}  // namespace

std::optional<Regex> format_strings(GrammarBuilder& builder, std::string_view format) {
  const std::string expression = expression_of(format);
  if (expression.empty()) return std::nullopt;
  const Regex texts = builder.expression(expression, true);
  constexpr int64_t kMaxHostname = 253;
  if (format != "hostname") return texts;
  return builder.all_of(std::array{texts, builder.repeat(builder.any_character(), 0, kMaxHostname)});
}

}  // namespace quire::schema
