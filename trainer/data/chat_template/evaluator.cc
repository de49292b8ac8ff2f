#include "trainer/data/chat_template/evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "trainer/data/chat_template/failure.h"
#include "trainer/data/chat_template/operators.h"

namespace regroup::chat {

using Does = Statement::Kind;

void Evaluator::Frame::Set(const std::string& name, Value value) {
  for (auto& [other, old] : values) {
    if (other != name) continue;
    old = std::move(value);
    return;
  }
  values.emplace_back(name, std::move(value));
}

const Value* Evaluator::Frame::Find(const std::string& name) const {
  for (const Frame* frame = this; frame != nullptr; frame = frame->around) {
    for (const auto& [other, value] : frame->values) {
      if (other == name) return &value;
    }
  }
  return nullptr;
}

size_t Evaluator::Frame::size() const {
  size_t count = 0;
  for (const Frame* frame = this; frame != nullptr; frame = frame->around) count += frame->values.size();
  return count;
}

std::string Evaluator::Run() {
  std::string out;
  Begin(parsed_.root, root_);
  Execute(parsed_.root.body, root_, out);
  return out;
}

void Evaluator::Begin(const Scope& scope, Frame& frame) {
  for (const std::string& name : scope.blanks) frame.Set(name, Value::Undefined(name));
}

void Evaluator::Append(const std::string& text, std::string& out) {
  budget_.Make(text.size());
  out += text;
  if (out.size() > most_) Unsupported(fmt::format("a text of more than {} bytes", most_));
}

Evaluator::Flow Evaluator::Execute(const Block& block, Frame& frame, std::string& out) {
  for (const Statement& statement : block) {
    try {
      const Flow flow = ExecuteStatement(statement, frame, out);
      if (flow != Flow::kNext) return flow;
    } catch (Failure& failure) {
      if (failure.line == 0) failure.line = statement.line;
      throw;
    }
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::ExecuteStatement(const Statement& statement, Frame& frame, std::string& out) {
  const Budget::Level level(budget_);
  switch (statement.kind) {
    case Does::kText:
      Append(statement.text, out);
      break;
    case Does::kPrint:
      Append(ToText(Evaluate(*statement.values[0], frame)), out);
      break;
    case Does::kIf:
      return ExecuteIf(statement, frame, out);
    case Does::kFor:
      return ExecuteFor(statement, frame, out);
    case Does::kSet:
      ExecuteSet(statement, frame);
      break;
    case Does::kSetBlock:
      frame.Set(statement.targets[0], Filtered(statement.values[0].get(), RunScope(statement.scope, frame), frame));
      break;
    case Does::kMacro:
      frame.Set(statement.text, Value::Macro(&statement));
      break;
    case Does::kBreak:
      return Flow::kBreak;
    case Does::kContinue:
      return Flow::kContinue;
    case Does::kScopedBlock:
      Append(ToText(Filtered(statement.values[0].get(), RunScope(statement.scope, frame), frame)), out);
      break;
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::ExecuteIf(const Statement& statement, Frame& frame, std::string& out) {
  for (size_t i = 0; i < statement.values.size(); ++i) {
    if (IsTrue(Evaluate(*statement.values[i], frame))) return Execute(statement.bodies[i], frame, out);
  }
  const bool has_else = statement.bodies.size() > statement.values.size();
  return has_else ? Execute(statement.bodies.back(), frame, out) : Flow::kNext;
}

void Evaluator::Assign(const Statement& statement, const Value& value, Frame& frame) {
  if (!statement.unpacks) return frame.Set(statement.targets[0], value);
  const std::vector<Value> items = value.IsUndefined() ? std::vector<Value>() : ItemsOf(budget_, value);
  if (items.size() != statement.targets.size()) {
    WrongValue(fmt::format("{} values for {} variables", items.size(), statement.targets.size()));
  }
  for (size_t i = 0; i < items.size(); ++i) frame.Set(statement.targets[i], items[i]);
}

void Evaluator::ExecuteSet(const Statement& statement, Frame& frame) {
  const Value value = Evaluate(*statement.values[0], frame);
  budget_.Step(frame.size() / 8);
  if (statement.attribute.empty()) return Assign(statement, value, frame);
  const Value target = EvaluateName(statement.targets[0], frame);
  if (!target.Is(Kind::kNamespace)) WrongValue(fmt::format("'{}' is not a namespace", statement.targets[0]));
  // Refuses values that must not outlive their loop, or would hold themselves.
  value.depth();
  target.names().values[statement.attribute] = value;
}

bool Evaluator::MeetsCondition(const Statement& statement, const Value& item, Frame& frame) {
  Frame inner{.around = &frame};
  Assign(statement, item, inner);
  return IsTrue(Evaluate(*statement.values[1], inner));
}

/// Returns what the loop goes through; if it has a condition and uses `loop`, only the items that meet it. Jinja asks
/// while the loop runs, which only a namespace could show.
std::vector<Value> Evaluator::LoopItems(const Statement& statement, Frame& frame) {
  std::vector<Value> items = ItemsOf(budget_, Evaluate(*statement.values[0], frame));
  if (statement.values[1] == nullptr || !statement.uses_loop) return items;
  const bool read_before = std::exchange(reads_namespace_, false);
  std::vector<Value> kept;
  for (const Value& item : items) {
    if (MeetsCondition(statement, item, frame)) kept.push_back(item);
  }
  if (reads_namespace_) Unsupported("a loop that uses `loop` and has a condition on a namespace");
  reads_namespace_ = read_before;
  return kept;
}

Evaluator::Flow Evaluator::ExecuteFor(const Statement& statement, Frame& frame, std::string& out) {
  const std::vector<Value> items = LoopItems(statement, frame);
  const bool asks = statement.values[1] != nullptr && !statement.uses_loop;
  const auto loop = std::make_shared<Loop>(Loop{.items = &items});
  // As in Jinja, an iteration that break or continue ends does not keep the loop's else from running.
  bool has_run = false;
  for (size_t i = 0; i < items.size(); ++i) {
    budget_.Step();
    if (asks && !MeetsCondition(statement, items[i], frame)) continue;
    Frame inner{.around = &frame};
    Begin(statement.scope, inner);
    loop->index = i;
    if (statement.uses_loop) inner.Set("loop", Value::Of(loop));
    Assign(statement, items[i], inner);
    const Flow flow = Execute(statement.scope.body, inner, out);
    if (flow == Flow::kBreak) break;
    has_run |= flow == Flow::kNext;
  }
  if (has_run) return Flow::kNext;
  Frame inner{.around = &frame};
  Begin(statement.otherwise, inner);
  return Execute(statement.otherwise.body, inner, out);
}

std::string Evaluator::RunScope(const Scope& scope, Frame& frame) {
  Frame inner{.around = &frame};
  Begin(scope, inner);
  std::string text;
  Execute(scope.body, inner, text);
  return text;
}

Value Evaluator::CallMacro(const Statement& macro, const Arguments& arguments) {
  const size_t given = arguments.values.size();
  if (given > macro.targets.size()) WrongValue(fmt::format("the macro '{}' takes fewer arguments", macro.text));
  Frame inner{.around = &root_};
  Begin(macro.scope, inner);
  size_t used = 0;
  for (size_t i = 0; i < macro.targets.size(); ++i) {
    const std::string& parameter = macro.targets[i];
    const auto named = std::find_if(arguments.named.begin(), arguments.named.end(),
                                    [&](const auto& each) { return i >= given && each.first == parameter; });
    used += named != arguments.named.end() ? 1 : 0;
    if (i < given) {
      inner.Set(parameter, arguments.values[i]);
    } else if (named != arguments.named.end()) {
      inner.Set(parameter, named->second);
    } else if (macro.values[i] != nullptr) {
      inner.Set(parameter, Evaluate(*macro.values[i], inner));
    } else {
      inner.Set(parameter, Value::Undefined(parameter));
    }
  }
  if (used != arguments.named.size()) WrongValue(fmt::format("the macro '{}' has no such argument", macro.text));
  std::string text;
  Execute(macro.scope.body, inner, text);
  return Value::String(std::move(text));
}

}  // namespace regroup::chat
