// Runs a parsed chat template on the values of one conversation. One thread; made for one run.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "trainer/data/chat_template/arguments.h"
#include "trainer/data/chat_template/budget.h"
#include "trainer/data/chat_template/syntax.h"
#include "trainer/data/chat_template/value.h"

namespace regroup::chat {

struct Variables {
  std::map<std::string, Value> values;
  /// Variables of which it is not known whether Transformers gives them, with the reason: reading one fails.
  std::map<std::string, std::string> unknown;
};

class Evaluator {
 public:
  /// The template must outlive the evaluator. The text may have at most `most` bytes.
  Evaluator(const Template& parsed, const Variables& variables, size_t most)
      : parsed_(parsed), variables_(variables), most_(most) {}

  /// Returns the text. Throws Failure.
  std::string Run();

 private:
  /// The variables of a scope that runs.
  struct Frame {
    const Frame* around = nullptr;
    std::vector<std::pair<std::string, Value>> values;

    void Set(const std::string& name, Value value);
    const Value* Find(const std::string& name) const;
    /// Returns the number of names that Find may compare.
    size_t size() const;
  };
  enum class Flow { kNext, kBreak, kContinue };

  // evaluate_expression.cc
  Value Evaluate(const Expression& expression, Frame& frame);
  Value EvaluateKind(const Expression& expression, Frame& frame);
  Value EvaluateName(const std::string& name, const Frame& frame);
  Value EvaluateItems(const Expression& expression, Frame& frame);
  Value EvaluateMapping(const Expression& expression, Frame& frame);
  Value EvaluateSlice(const Expression& expression, Frame& frame);
  Value EvaluateChoice(const Expression& expression, Frame& frame);
  Value EvaluateConcat(const Expression& expression, Frame& frame);
  Value EvaluateCompare(const Expression& expression, Frame& frame);
  Value EvaluateCall(const Expression& expression, Frame& frame);
  Value EvaluateTest(const Expression& expression, Frame& frame);
  /// Returns the arguments, which follow the first part.
  Arguments EvaluateArguments(const Expression& expression, Frame& frame);
  /// Applies filters whose innermost works on a block's text.
  Value Filtered(const Expression* filters, std::string text, Frame& frame);
  Value CallFunction(const std::string& name, const Arguments& arguments);

  // evaluator.cc
  Flow Execute(const Block& block, Frame& frame, std::string& out);
  Flow ExecuteStatement(const Statement& statement, Frame& frame, std::string& out);
  Flow ExecuteIf(const Statement& statement, Frame& frame, std::string& out);
  Flow ExecuteFor(const Statement& statement, Frame& frame, std::string& out);
  void ExecuteSet(const Statement& statement, Frame& frame);
  void Assign(const Statement& statement, const Value& value, Frame& frame);
  std::vector<Value> LoopItems(const Statement& statement, Frame& frame);
  bool MeetsCondition(const Statement& statement, const Value& item, Frame& frame);
  std::string RunScope(const Scope& scope, Frame& frame);
  Value CallMacro(const Statement& macro, const Arguments& arguments);
  void Append(const std::string& text, std::string& out);
  static void Begin(const Scope& scope, Frame& frame);

  const Template& parsed_;
  const Variables& variables_;
  const size_t most_;
  Budget budget_;
  Frame root_;
  /// True once a namespace was read.
  bool reads_namespace_ = false;
};

}  // namespace regroup::chat
