// A parsed template: statements over expressions, all owned by one Template and read-only afterwards, so any number of
// threads may render from it.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "jinja/value.h"

namespace quire::jinja {

enum class Op : uint8_t { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow, kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };

enum class ExprKind : uint8_t {
  kConst,         // constant
  kName,          // symbol
  kNamespaceRef,  // symbol, text: the target `ns.text` of an assignment
  kTuple,         // operands
  kList,          // operands
  kDict,          // operands: key, value, key, value ...
  kNot,           // operands[0]
  kNegate,        // operands[0]
  kPlus,          // operands[0]
  kAnd,           // operands[0], operands[1]
  kOr,            // operands[0], operands[1]
  kBinary,        // ops[0], operands[0], operands[1]
  kConcat,        // operands, joined as text
  kCompare,       // operands[0] ops[0] operands[1] ops[1] operands[2] ...
  kCondition,     // operands[0] if operands[1] else operands[2] (may be null)
  kAttribute,     // operands[0].text
  kItem,          // operands[0][operands[1]]
  kSlice,         // operands[0][operands[1]:operands[2]:operands[3]], each of the last three may be null
  kCall,          // operands[0](arguments)
  kFilter,        // operands[0] | text(arguments); operands[0] is null for the captured text of a block
  kTest,          // operands[0] is text(arguments)
};

struct Expr;

struct Arguments {
  std::vector<const Expr*> positional;
  std::vector<std::pair<std::string, const Expr*>> named;
  const Expr* star = nullptr;       // *star
  const Expr* star_star = nullptr;  // **star_star
};

struct Filter;
struct Test;

struct Expr {
  ExprKind kind;
  int line = 1;
  int height = 1;  // of the tree below: evaluation recurses this deep
  int symbol = -1;
  std::string text;
  Value constant;
  std::vector<Op> ops;
  std::vector<const Expr*> operands;
  Arguments arguments;
  const Filter* filter = nullptr;  // null when there is no filter of that name: an error only when it is evaluated
  const Test* test = nullptr;
};

enum class StmtKind : uint8_t {
  kText,         // text
  kOutput,       // expr
  kFor,          // for target in expr [if condition] [recursive]: body, else: otherwise
  kIf,           // the first of branches whose condition is true, else otherwise
  kSet,          // target = expr
  kSetBlock,     // target = captured body, through the filters of expr (may be null)
  kMacro,        // symbol, parameters, body
  kCallBlock,    // expr is the call; parameters and body are its `caller`
  kFilterBlock,  // captured body through the filters of expr
  kWith,         // assignments, body
  kGeneration,   // body: Hugging Face's marker of assistant text, rendered as it is
  kBreak,
  kContinue,
};

struct Stmt;
using Block = std::vector<const Stmt*>;

struct Parameter {
  int symbol;
  std::string name;
  const Expr* fallback;  // null: none
};

struct Branch {
  const Expr* condition;
  Block body;
};

struct Stmt {
  StmtKind kind;
  int line = 1;
  std::string text;
  const Expr* expr = nullptr;
  const Expr* target = nullptr;
  const Expr* condition = nullptr;
  std::vector<Branch> branches;
  Block body;
  Block otherwise;
  bool recursive = false;
  int symbol = -1;
  std::vector<Parameter> parameters;
  std::vector<std::pair<const Expr*, const Expr*>> assignments;
  bool uses_caller = false;
  bool uses_varargs = false;
  bool uses_kwargs = false;
  // Names that this statement's scope hides from its start, before they are assigned (see scopes.h).
  std::vector<int> hidden;
  std::vector<int> hidden_otherwise;  // the same for `otherwise` of a loop
};

struct Template {
  Block body;
  std::vector<int> hidden;           // as Stmt::hidden, for the outermost scope
  std::vector<std::string> symbols;  // names of variables by symbol
  std::set<int> loaded;              // symbols that are read somewhere
  std::set<std::string> fields;      // attributes and constant string subscripts that are read somewhere
  std::unordered_map<std::string, int> symbol_of;
  std::vector<std::unique_ptr<Expr>> exprs;
  std::vector<std::unique_ptr<Stmt>> stmts;

  int intern(const std::string& name) {
    const auto [entry, added] = symbol_of.emplace(name, static_cast<int>(symbols.size()));
    if (added) symbols.push_back(name);
    return entry->second;
  }
};

}  // namespace quire::jinja
