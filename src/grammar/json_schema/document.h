// A schema document: its draft, the keywords that the draft knows, where references point to, and JSON pointers for
// messages. The document outlives it.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace quire::schema {

enum class Draft : uint8_t {
  k4,
  k6,
  k7,
  k2019,
  k2020,
  kUnstated,  // no $schema: 2020-12, and the older keywords with the meaning that they had
};

class SchemaDocument {
 public:
  // Throws Error kLimit where schemas nest deeper than Quire reads.
  explicit SchemaDocument(const json::value& root);

  const json::value& root() const { return root_; }
  Draft draft() const { return draft_; }
  // Whether what stands beside $ref counts.
  bool reads_beside_ref() const { return draft_ >= Draft::k2019; }

  // The keyword's value, if the schema has it and its draft knows the keyword; else nullptr.
  const json::value* find(const json::value& schema, std::string_view keyword) const;

  // Whether the keyword stands in any schema that was found so far.
  bool uses(std::string_view keyword) const { return used_.contains(keyword); }

  // What a reference of `schema` points to. Throws Error kInvalidArgument where nothing is there and kUnsupported for
  // another document.
  const json::value& resolve(const json::value& schema, std::string_view keyword);

  // The JSON pointer of a value within the document, '#' first.
  std::string pointer(const json::value& value) const;
  // Throw an Error that names the keyword's place: one that is wrong, and one that Quire does not support.
  [[noreturn]] void wrong(const json::value& schema, std::string_view keyword, std::string_view why) const;
  [[noreturn]] void unsupported(const json::value& schema, std::string_view keyword, std::string_view why) const;

 private:
  struct Place {
    const json::value* schema;
    std::string base;  // the URI of the schema resource that it belongs to
    int depth;
  };
  void index(Place start);
  void index_one(Place& place);
  void add_children(const Place& place, std::vector<Place>& todo) const;
  const json::value* walk(const json::value& from, std::string_view pointer);
  bool is_dynamic(std::string_view keyword, std::string_view name) const;

  const json::value& root_;
  Draft draft_ = Draft::kUnstated;
  std::map<const json::value*, std::string> bases_;
  std::map<std::string, const json::value*, std::less<>> resources_;
  std::map<std::string, const json::value*, std::less<>> anchors_;  // "URI#name"
  std::map<std::string, int, std::less<>> dynamic_anchors_;         // how many schemas have the name
  int recursive_anchors_ = 0;
  std::set<std::string, std::less<>> used_;  // of the keywords that uses() may be asked for
};

}  // namespace quire::schema
