// Parses the expressions of a chat template, with Jinja's precedence. One thread.
#pragma once

#include <string>

#include "trainer/data/chat_template/syntax.h"
#include "trainer/data/chat_template/token_stream.h"

namespace regroup::chat {

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  /// An expression, with `a if b else c` unless it may not have one.
  ExpressionPtr Parse(bool with_choice = true);
  /// An expression, or several with commas between them, which make a tuple.
  ExpressionPtr ParseTuple(bool with_choice = true);
  /// A filter without the sign before it. `value` is what it works on, or null for the text of a block.
  ExpressionPtr ParseFilter(ExpressionPtr value);

 private:
  ExpressionPtr Make(Expression::Kind kind) const;
  /// Counts the levels of an expression, whose parts are complete, and refuses too many.
  static ExpressionPtr Counted(ExpressionPtr made);
  static void Count(Expression& made);
  template <typename... Parts>
  ExpressionPtr Make(Expression::Kind kind, std::string name, Parts... parts) const;

  ExpressionPtr ParseOr();
  ExpressionPtr ParseAnd();
  ExpressionPtr ParseNot();
  ExpressionPtr ParseCompare();
  ExpressionPtr ParseSum();
  ExpressionPtr ParseConcat();
  ExpressionPtr ParseProduct();
  ExpressionPtr ParsePower();
  ExpressionPtr ParseUnary(bool with_filters);
  ExpressionPtr ParsePrimary();
  ExpressionPtr ParseName();
  ExpressionPtr ParseTextLiteral();
  ExpressionPtr ParseParentheses();
  ExpressionPtr ParseList();
  ExpressionPtr ParseMapping();
  ExpressionPtr ParseFilters(ExpressionPtr value);
  ExpressionPtr ParsePostfix(ExpressionPtr value);
  ExpressionPtr ParseSubscript(ExpressionPtr value);
  ExpressionPtr ParseTest(ExpressionPtr value);
  void ParseArguments(Expression& call);

  TokenStream& tokens_;
};

/// Throws Failure unless this folder knows the filter or the test.
void CheckFilterName(const std::string& name, int64_t line);
void CheckTestName(const std::string& name, int64_t line);

}  // namespace regroup::chat
