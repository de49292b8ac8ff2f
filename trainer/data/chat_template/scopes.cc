#include "trainer/data/chat_template/scopes.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "trainer/data/chat_template/failure.h"

namespace regroup::chat {
namespace {

using Does = Statement::Kind;

/// Origin of a scope's variable when the scope begins.
enum class Origin { kGiven, kAround, kBlank };

/// Names that are copied for the branches of `if`: a hostile template could make them grow with its square.
constexpr size_t kMaxCopied = 1'000'000;

/// The names that a scope has met so far.
struct Names {
  const Names* around = nullptr;
  size_t* copied = nullptr;
  std::map<std::string, Origin> known;
  std::set<std::string> assigned;

  bool Knows(const std::string& name) const {
    return known.contains(name) || (around != nullptr && around->Knows(name));
  }
  bool AroundKnows(const std::string& name) const { return around != nullptr && around->Knows(name); }
  void Read(const std::string& name) {
    if (!Knows(name)) known[name] = Origin::kAround;
  }
  void Assign(const std::string& name) {
    assigned.insert(name);
    known.try_emplace(name, AroundKnows(name) ? Origin::kAround : Origin::kBlank);
  }
};

/// Calls `visit` with each name that an expression reads.
template <typename Visit>
void ForEachName(const Expression* expression, const Visit& visit) {
  if (expression == nullptr) return;
  if (expression->kind == Expression::Kind::kName) visit(expression->name);
  for (const ExpressionPtr& part : expression->parts) ForEachName(part.get(), visit);
  for (const auto& [name, part] : expression->named) ForEachName(part.get(), visit);
}

/// Calls `visit` with each expression of a block, and with the statement that it belongs to.
template <typename Visit>
void ForEachExpression(const Block& block, const Visit& visit) {
  const auto descend = [&](const Statement& statement, const Expression* expression, const auto& self) -> void {
    if (expression == nullptr) return;
    visit(statement, *expression);
    for (const ExpressionPtr& part : expression->parts) self(statement, part.get(), self);
    for (const auto& [name, part] : expression->named) self(statement, part.get(), self);
  };
  for (const Statement& statement : block) {
    for (const ExpressionPtr& value : statement.values) descend(statement, value.get(), descend);
    for (const Block& body : statement.bodies) ForEachExpression(body, visit);
    ForEachExpression(statement.scope.body, visit);
    ForEachExpression(statement.otherwise.body, visit);
  }
}

/// Returns a variable that is set to the date, and of which the template asks whether it is defined.
std::string DateVariable(const Block& block) {
  std::set<std::string> set_to_date, asked;
  ForEachExpression(block, [&](const Statement& statement, const Expression& expression) {
    const bool is_date = expression.kind == Expression::Kind::kName && expression.name == "strftime_now";
    if (is_date && statement.kind == Does::kSet) set_to_date.insert(statement.targets[0]);
    const bool asks = expression.kind == Expression::Kind::kTest && expression.name.ends_with("defined");
    if (asks && expression.parts[0]->kind == Expression::Kind::kName) asked.insert(expression.parts[0]->name);
  });
  for (const std::string& name : set_to_date) {
    if (asked.contains(name)) return name;
  }
  return "";
}

bool UsesLoop(const Block& block) {
  bool uses = false;
  for (const Statement& statement : block) {
    for (const ExpressionPtr& value : statement.values) {
      ForEachName(value.get(), [&](const std::string& name) { uses |= name == "loop"; });
    }
    for (const Block& body : statement.bodies) uses |= UsesLoop(body);
    uses |= UsesLoop(statement.scope.body) || UsesLoop(statement.otherwise.body);
  }
  return uses;
}

void Meet(const Block& block, Names& names);

void MeetExpression(const ExpressionPtr& value, Names& names) {
  ForEachName(value.get(), [&](const std::string& name) { names.Read(name); });
}

/// A name that all of an `if` with `elif` and `else` assigns is assigned by the whole.
void MeetIf(const Statement& statement, size_t first, Names& names) {
  const size_t conditions = statement.values.size();
  MeetExpression(statement.values[first], names);
  *names.copied += 1 + names.known.size();
  if (*names.copied > kMaxCopied) Unsupported("so many names and conditions", statement.line);
  std::vector<Names> branches(3, names);
  Meet(statement.bodies[first], branches[0]);
  for (size_t i = first + 1; first == 0 && i < conditions; ++i) MeetIf(statement, i, branches[1]);
  if (first == 0 && statement.bodies.size() > conditions) Meet(statement.bodies.back(), branches[2]);
  std::map<std::string, int> counts;
  for (const Names& branch : branches) {
    for (const std::string& name : branch.assigned) {
      if (!names.assigned.contains(name)) ++counts[name];
    }
  }
  for (const Names& branch : branches) {
    for (const auto& [name, origin] : branch.known) names.known[name] = origin;
    names.assigned.insert(branch.assigned.begin(), branch.assigned.end());
  }
  for (const auto& [name, count] : counts) {
    if (count < 3) names.known[name] = Origin::kAround;
  }
}

void Meet(const Block& block, Names& names) {
  for (const Statement& statement : block) {
    switch (statement.kind) {
      case Does::kPrint:
      case Does::kFor:
        MeetExpression(statement.values[0], names);
        break;
      case Does::kIf:
        MeetIf(statement, 0, names);
        break;
      case Does::kSet:
        MeetExpression(statement.values[0], names);
        if (!statement.attribute.empty()) {
          names.Read(statement.targets[0]);
          break;
        }
        [[fallthrough]];
      case Does::kSetBlock:
        for (const std::string& target : statement.targets) names.Assign(target);
        break;
      case Does::kMacro:
        names.Assign(statement.text);
        break;
      case Does::kScopedBlock:
        MeetExpression(statement.values[0], names);
        break;
      default:
        break;
    }
  }
}

void ResolveBlock(Block& block, const Names& names);

void Resolve(Scope& scope, Names names) {
  Meet(scope.body, names);
  for (const auto& [name, origin] : names.known) {
    if (origin == Origin::kBlank) scope.blanks.insert(name);
  }
  ResolveBlock(scope.body, names);
}

void ResolveStatement(Statement& statement, const Names& names) {
  for (Block& body : statement.bodies) ResolveBlock(body, names);
  Names inner{.around = &names, .copied = names.copied};
  if (statement.kind == Does::kFor) {
    Resolve(statement.otherwise, inner);
    statement.uses_loop = UsesLoop(statement.scope.body);
    for (const std::string& target : statement.targets) inner.known[target] = Origin::kGiven;
    if (statement.uses_loop) inner.known["loop"] = Origin::kGiven;
  }
  if (statement.kind == Does::kMacro) {
    for (const std::string& parameter : statement.targets) inner.known[parameter] = Origin::kGiven;
    for (const ExpressionPtr& value : statement.values) MeetExpression(value, inner);
  }
  Resolve(statement.scope, std::move(inner));
}

void ResolveBlock(Block& block, const Names& names) {
  for (Statement& statement : block) ResolveStatement(statement, names);
}

}  // namespace

void ResolveScopes(Template& parsed) {
  size_t copied = 0;
  Resolve(parsed.root, {.copied = &copied});
  parsed.date_variable = DateVariable(parsed.root.body);
}

}  // namespace regroup::chat
