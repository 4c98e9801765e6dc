#include "grammar/structural_tag.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "grammar/gbnf.h"

namespace quire {
namespace {

class StructuralTagReader {
 public:
  StructuralTagReader(GrammarBuilder& builder, const JsonForm& form, const GrammarLimits& limits)
      : builder_(builder), form_(form), limits_(limits) {}

  Symbol read(const json::value& description) {
    const json::object& object = object_of(description, "");
    if (object.contains("structures")) return structures(object);
    if (text_of(object, "type", "") != "structural_tag") {
      refuse("/type", "'structural_tag' is expected");
    }
    only(object, {"type", "format"}, "");
    return whole(member(object, "format", ""), "/format");
  }

 private:
  using Ends = std::vector<std::string>;

  [[noreturn]] static void refuse(const std::string& pointer, const std::string& what,
                                  ErrorCode code = ErrorCode::kInvalidArgument) {
    fail(code, "structural tag, {}: {}", pointer.empty() ? "/" : pointer, what);
  }

  static const json::object& object_of(const json::value& value, const std::string& pointer) {
    if (!value.is_object()) refuse(pointer, "an object is expected");
    return value.get_object();
  }
  static const json::value& member(const json::object& object, std::string_view key, const std::string& pointer) {
    const json::value* found = object.if_contains(key);
    if (found == nullptr) refuse(pointer + "/" + std::string(key), "missing");
    return *found;
  }
  static std::string string_of(const json::value& value, const std::string& pointer) {
    if (!value.is_string()) refuse(pointer, "a string is expected");
    return std::string(value.get_string());
  }
  static std::string text_of(const json::object& object, std::string_view key, const std::string& pointer) {
    return string_of(member(object, key, pointer), pointer + "/" + std::string(key));
  }
  static const json::array& array_of(const json::object& object, std::string_view key, const std::string& pointer) {
    const json::value& value = member(object, key, pointer);
    if (!value.is_array()) refuse(pointer + "/" + std::string(key), "a list is expected");
    return value.get_array();
  }
  static bool flag(const json::object& object, std::string_view key, const std::string& pointer) {
    const json::value* found = object.if_contains(key);
    if (found == nullptr || found->is_null()) return false;
    if (!found->is_bool()) refuse(pointer + "/" + std::string(key), "true or false is expected");
    return found->get_bool();
  }
  static void only(const json::object& object, std::initializer_list<std::string_view> known,
                   const std::string& pointer) {
    for (const auto& entry : object) {
      if (std::ranges::find(known, std::string_view(entry.key())) == known.end()) {
        refuse(pointer + "/" + std::string(entry.key()), "not supported", ErrorCode::kUnsupported);
      }
    }
  }

  Symbol empty() { return builder_.sequence({}); }
  Symbol sequence(std::initializer_list<Symbol> parts) { return builder_.sequence(std::vector(parts)); }

  Symbol mark(std::string_view text) { return marked_text(builder_, text); }

  Symbol structures(const json::object& object) {
    only(object, {"type", "structures", "triggers"}, "");
    std::vector<Tag> tags;
    const json::array& list = array_of(object, "structures", "");
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string pointer = "/structures/" + std::to_string(i);
      const json::object& one = object_of(list[i], pointer);
      only(one, {"begin", "schema", "end"}, pointer);
      const Symbol parts[] = {schema(member(one, "schema", pointer)), mark(text_of(one, "end", pointer))};
      tags.push_back({text_of(one, "begin", pointer), builder_.sequence(parts)});
    }
    return triggered(tags, strings(object, "triggers", ""), {}, {}, "/triggers");
  }

  Ends strings(const json::object& object, std::string_view key, const std::string& pointer) {
    Ends all;
    const json::array& list = array_of(object, key, pointer);
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string place = pointer + "/" + std::string(key) + "/" + std::to_string(i);
      all.push_back(string_of(list[i], place));
      if (all.back().empty()) refuse(place, "the text must not be empty");
    }
    return all;
  }

  Symbol schema(const json::value& value) { return json_schema(builder_, value, form_); }

  struct Tag {
    std::string begin;
    Symbol rest;  // content and end
  };
  struct Rounds {
    bool at_least_one = false, stop_after_first = false;
  };

  // Free text; after a trigger, the rest of a tag whose begin starts with it, and free text again. Up to one of `ends`,
  // which belong to it; without ends, the text may end anywhere.
  Symbol triggered(const std::vector<Tag>& tags, const Ends& triggers, const Ends& ends, Rounds rounds,
                   const std::string& pointer) {
    const Symbol free = builder_.declare("free text");
    Symbol after = free;
    if (rounds.stop_after_first) {
      std::vector<Symbol> marks;
      for (const std::string& end : ends) marks.push_back(mark(end));
      after = ends.empty() ? empty() : builder_.choice(marks);
    }
    std::vector<GrammarBuilder::Branch> branches;
    std::vector<bool> is_used(tags.size());
    for (const std::string& trigger : triggers) {
      std::vector<Symbol> choices;
      for (size_t i = 0; i < tags.size(); ++i) {
        if (!tags[i].begin.starts_with(trigger)) continue;
        is_used[i] = true;
        choices.push_back(
            sequence({mark(std::string_view(tags[i].begin).substr(trigger.size())), tags[i].rest, after}));
      }
      if (choices.empty()) refuse(pointer, "no tag begins with the trigger '" + printable(trigger) + "'");
      branches.push_back({trigger, builder_.choice(choices)});
    }
    for (size_t i = 0; i < tags.size(); ++i) {
      if (!is_used[i]) refuse(pointer, "no trigger begins the tag '" + printable(tags[i].begin) + "'");
    }
    const std::vector<GrammarBuilder::Branch> tags_only = branches;
    for (const std::string& end : ends) branches.push_back({end, empty()});
    builder_.define(free, builder_.text_until(branches, ends.empty()));
    return rounds.at_least_one ? builder_.text_until(tags_only, false) : free;
  }

  // A format as the whole text.
  Symbol whole(const json::value& format, const std::string& pointer) { return last(format, {}, pointer); }

  // A format that is followed by one of `ends`, which belong to it, or by the end of the text where there are none.
  Symbol last(const json::value& format, const Ends& ends, const std::string& pointer) {
    const json::object& object = object_of(format, pointer);
    const std::string type = text_of(object, "type", pointer);
    if (type == "any_text") {
      only(object, {"type"}, pointer);
      std::vector<GrammarBuilder::Branch> branches;
      for (const std::string& end : ends) branches.push_back({end, empty()});
      return builder_.text_until(branches, ends.empty());
    }
    if (type == "triggered_tags") {
      only(object, {"type", "triggers", "tags", "at_least_one", "stop_after_first"}, pointer);
      return triggered(tags_of(object, pointer), strings(object, "triggers", pointer), ends, rounds_of(object, pointer),
                       pointer + "/triggers");
    }
    std::vector<Symbol> marks;
    for (const std::string& end : ends) marks.push_back(mark(end));
    const Symbol closing = ends.empty() ? empty() : builder_.choice(marks);
    if (type == "sequence") {
      only(object, {"type", "elements"}, pointer);
      const json::array& elements = array_of(object, "elements", pointer);
      std::vector<Symbol> parts;
      for (size_t i = 0; i < elements.size(); ++i) {
        const std::string place = pointer + "/elements/" + std::to_string(i);
        const bool is_last = i + 1 == elements.size();
        parts.push_back(is_last ? last(elements[i], ends, place) : inner(elements[i], place));
      }
      if (elements.empty()) parts.push_back(closing);
      return builder_.sequence(parts);
    }
    if (type == "or") {
      only(object, {"type", "elements"}, pointer);
      const json::array& elements = array_of(object, "elements", pointer);
      if (elements.empty()) refuse(pointer + "/elements", "nothing to choose from");
      std::vector<Symbol> choices;
      for (size_t i = 0; i < elements.size(); ++i) {
        choices.push_back(last(elements[i], ends, pointer + "/elements/" + std::to_string(i)));
      }
      return builder_.choice(choices);
    }
    return sequence({plain(object, type, pointer), closing});
  }

  // A format within others: free text goes on as long as what follows it does not.
  Symbol inner(const json::value& format, const std::string& pointer) { return last(format, {}, pointer); }

  Symbol plain(const json::object& object, const std::string& type, const std::string& pointer) {
    if (type == "const_string") {
      only(object, {"type", "value"}, pointer);
      return mark(text_of(object, "value", pointer));
    }
    if (type == "json_schema") {
      only(object, {"type", "json_schema"}, pointer);
      return schema(member(object, "json_schema", pointer));
    }
    if (type == "regex") {
      only(object, {"type", "pattern"}, pointer);
      return builder_.terminal(builder_.expression(text_of(object, "pattern", pointer), true));
    }
    if (type == "grammar") {
      only(object, {"type", "grammar"}, pointer);
      return gbnf(builder_, text_of(object, "grammar", pointer), limits_);
    }
    if (type == "tag") {
      const Tag tag = tag_of(object, pointer);
      return sequence({mark(tag.begin), tag.rest});
    }
    if (type == "tags_with_separator") {
      only(object, {"type", "tags", "separator", "at_least_one", "stop_after_first"}, pointer);
      std::vector<Symbol> choices;
      for (const Tag& tag : tags_of(object, pointer)) choices.push_back(sequence({mark(tag.begin), tag.rest}));
      const Symbol one = builder_.choice(choices);
      const Rounds rounds = rounds_of(object, pointer);
      const Symbol next = sequence({mark(text_of(object, "separator", pointer)), one});
      const Symbol all = rounds.stop_after_first ? one : sequence({one, builder_.repeat(next, 0)});
      return rounds.at_least_one ? all : builder_.repeat(all, 0, 1);
    }
    refuse(pointer + "/type", "the format '" + printable(type) + "' is not supported", ErrorCode::kUnsupported);
  }

  static Rounds rounds_of(const json::object& object, const std::string& pointer) {
    return {.at_least_one = flag(object, "at_least_one", pointer),
            .stop_after_first = flag(object, "stop_after_first", pointer)};
  }

  std::vector<Tag> tags_of(const json::object& object, const std::string& pointer) {
    std::vector<Tag> tags;
    const json::array& list = array_of(object, "tags", pointer);
    if (list.empty()) refuse(pointer + "/tags", "at least one tag is expected");
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string place = pointer + "/tags/" + std::to_string(i);
      tags.push_back(tag_of(object_of(list[i], place), place));
    }
    return tags;
  }

  Tag tag_of(const json::object& object, const std::string& pointer) {
    only(object, {"type", "begin", "content", "end"}, pointer);
    const json::value& end = member(object, "end", pointer);
    Ends ends = end.is_array() ? strings(object, "end", pointer) : Ends{string_of(end, pointer + "/end")};
    if (ends == Ends{""}) ends.clear();
    return {text_of(object, "begin", pointer), last(member(object, "content", pointer), ends, pointer + "/content")};
  }

  GrammarBuilder& builder_;
  JsonForm form_;
  GrammarLimits limits_;
};

}  // namespace

Symbol marked_text(GrammarBuilder& builder, std::string_view text) {
  const auto literal = [&](std::string_view plain) { return builder.terminal(builder.literal(plain)); };
  std::vector<Symbol> parts;
  size_t plain = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    const char closing = text[at] == '<' ? '>' : text[at] == '[' ? ']' : 0;
    const size_t end = closing == 0 ? std::string_view::npos : text.find(closing, at);
    if (end == std::string_view::npos ||
        text.substr(at, end - at).find_first_of(" \t\r\n\"") != std::string_view::npos) {
      continue;
    }
    if (at > plain) parts.push_back(literal(text.substr(plain, at - plain)));
    parts.push_back(builder.special(text.substr(at, end + 1 - at)));
    at = end;
    plain = end + 1;
  }
  if (plain < text.size()) parts.push_back(literal(text.substr(plain)));
  return builder.sequence(parts);
}

Symbol structural_tag(GrammarBuilder& builder, const json::value& description, const JsonForm& form,
                      const GrammarLimits& limits) {
  return StructuralTagReader(builder, form, limits).read(description);
}

}  // namespace quire
