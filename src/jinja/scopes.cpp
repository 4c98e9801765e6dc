#include "jinja/scopes.h"

#include <map>
#include <set>

namespace quire::jinja {
namespace {

enum class Origin {
  kOutside,    // read first: from an enclosing scope or the context
  kParameter,  // set when the scope is entered
  kHidden,     // assigned first, and unknown to the enclosing scopes
};

// The names of one scope. A branch of an `if` is a layer over the names known before it.
struct Names {
  const Names* enclosing = nullptr;
  const Names* before = nullptr;
  std::map<int, Origin> origins;
  std::set<int> assigned;

  bool has(int symbol) const {
    for (const Names* layer = this; layer != nullptr; layer = layer->before) {
      if (layer->origins.count(symbol) != 0) return true;
    }
    return false;
  }
  bool is_assigned(int symbol) const {
    for (const Names* layer = this; layer != nullptr; layer = layer->before) {
      if (layer->assigned.count(symbol) != 0) return true;
    }
    return false;
  }
  bool known_outside(int symbol) const {
    for (const Names* scope = enclosing; scope != nullptr; scope = scope->enclosing) {
      if (scope->has(symbol)) return true;
    }
    return false;
  }
  void load(int symbol) {
    if (!has(symbol) && !known_outside(symbol)) origins[symbol] = Origin::kOutside;
  }
  void store(int symbol) {
    assigned.insert(symbol);
    if (!has(symbol)) origins[symbol] = known_outside(symbol) ? Origin::kOutside : Origin::kHidden;
  }
  void parameter(int symbol) {
    assigned.insert(symbol);
    origins[symbol] = Origin::kParameter;
  }
  // After the branches of an `if`: a name that only some of them assign starts with its value from outside.
  void merge(const std::vector<Names>& branches) {
    std::set<int> newly_assigned;
    for (const Names& branch : branches) {
      for (const auto& [symbol, origin] : branch.origins) origins[symbol] = origin;
      for (const int symbol : branch.assigned) {
        if (!is_assigned(symbol)) newly_assigned.insert(symbol);
      }
    }
    for (const int symbol : newly_assigned) {
      assigned.insert(symbol);
      origins[symbol] = Origin::kOutside;
    }
  }
  std::vector<int> hidden() const {
    std::vector<int> symbols;
    for (const auto& [symbol, origin] : origins) {
      if (origin == Origin::kHidden) symbols.push_back(symbol);
    }
    return symbols;
  }
};

class Finder {
 public:
  explicit Finder(Template& parsed) : template_(parsed) {}

  void run() {
    Names names;
    visit_block(names, template_.body);
    template_.hidden = names.hidden();
    visit_inner_scopes(names, template_.body);
  }

 private:
  static void visit_arguments(Names& names, const Arguments& arguments) {
    for (const Expr* argument : arguments.positional) visit(names, argument);
    for (const auto& [name, argument] : arguments.named) visit(names, argument);
    visit(names, arguments.star);
    visit(names, arguments.star_star);
  }

  static void visit(Names& names, const Expr* expr) {
    if (expr == nullptr) return;
    if (expr->kind == ExprKind::kName) names.load(expr->symbol);
    for (const Expr* operand : expr->operands) visit(names, operand);
    visit_arguments(names, expr->arguments);
  }

  static void visit_target(Names& names, const Expr& target, bool as_parameter) {
    if (target.kind == ExprKind::kNamespaceRef) {
      names.load(target.symbol);
    } else if (target.kind == ExprKind::kName) {
      as_parameter ? names.parameter(target.symbol) : names.store(target.symbol);
    }
    for (const Expr* part : target.operands) visit_target(names, *part, as_parameter);
  }

  static void visit_if(Names& names, const Stmt& stmt) {
    // Jinja treats the body, all of the elifs together and the else as three alternatives.
    visit(names, stmt.branches[0].condition);
    std::vector<Names> alternatives(3);
    for (Names& alternative : alternatives) {
      alternative.enclosing = names.enclosing;
      alternative.before = &names;
    }
    visit_block(alternatives[0], stmt.branches[0].body);
    for (size_t i = 1; i < stmt.branches.size(); ++i) {
      visit(alternatives[1], stmt.branches[i].condition);
      std::vector<Names> only(1);
      only[0].enclosing = names.enclosing;
      only[0].before = &alternatives[1];
      visit_block(only[0], stmt.branches[i].body);
      alternatives[1].merge(only);
    }
    visit_block(alternatives[2], stmt.otherwise);
    for (Names& alternative : alternatives) alternative.before = nullptr;
    names.merge(alternatives);
  }

  // The uses of names that belong to the scope itself, not to inner scopes.
  static void visit_block(Names& names, const Block& block) {
    for (const Stmt* stmt : block) {
      switch (stmt->kind) {
        case StmtKind::kIf: visit_if(names, *stmt); break;
        case StmtKind::kOutput:
        case StmtKind::kFor:
        case StmtKind::kCallBlock:
        case StmtKind::kFilterBlock: visit(names, stmt->expr); break;
        case StmtKind::kSet:
          visit(names, stmt->expr);
          visit_target(names, *stmt->target, false);
          break;
        case StmtKind::kSetBlock: visit_target(names, *stmt->target, false); break;
        case StmtKind::kMacro: names.store(stmt->symbol); break;
        case StmtKind::kWith:
          for (const auto& [target, value] : stmt->assignments) visit(names, value);
          break;
        default: break;
      }
    }
  }

  std::vector<int> visit_scope(Names& names, const Block& block) {
    visit_block(names, block);
    visit_inner_scopes(names, block);
    return names.hidden();
  }

  void special_parameters(Names& names, const Stmt& stmt) {
    for (const Parameter& parameter : stmt.parameters) names.parameter(parameter.symbol);
    if (stmt.uses_caller) names.parameter(template_.intern("caller"));
    if (stmt.uses_varargs) names.parameter(template_.intern("varargs"));
    if (stmt.uses_kwargs) names.parameter(template_.intern("kwargs"));
    for (const Parameter& parameter : stmt.parameters) visit(names, parameter.fallback);
  }

  void visit_inner_scopes(const Names& names, const Block& block) {
    for (const Stmt* const_stmt : block) {
      // The template is not shared with anyone until the parser hands it out.
      auto* stmt = const_cast<Stmt*>(const_stmt);
      Names inner;
      inner.enclosing = &names;
      switch (stmt->kind) {
        case StmtKind::kIf:
          for (const Branch& branch : stmt->branches) visit_inner_scopes(names, branch.body);
          visit_inner_scopes(names, stmt->otherwise);
          break;
        case StmtKind::kFor: {
          inner.parameter(template_.intern("loop"));
          visit_target(inner, *stmt->target, true);
          stmt->hidden = visit_scope(inner, stmt->body);
          Names otherwise;
          otherwise.enclosing = &names;
          stmt->hidden_otherwise = visit_scope(otherwise, stmt->otherwise);
          break;
        }
        case StmtKind::kMacro:
        case StmtKind::kCallBlock:
        case StmtKind::kGeneration:
          special_parameters(inner, *stmt);
          stmt->hidden = visit_scope(inner, stmt->body);
          break;
        case StmtKind::kWith:
          for (const auto& [target, value] : stmt->assignments) visit_target(inner, *target, true);
          stmt->hidden = visit_scope(inner, stmt->body);
          break;
        case StmtKind::kSetBlock:
        case StmtKind::kFilterBlock: stmt->hidden = visit_scope(inner, stmt->body); break;
        default: break;
      }
    }
  }

  Template& template_;
};

}  // namespace

void find_hidden_names(Template& parsed) { Finder(parsed).run(); }

}  // namespace quire::jinja
