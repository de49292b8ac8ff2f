#include "trainer/data/chat_template/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "trainer/data/chat_template/expression_parser.h"
#include "trainer/data/chat_template/failure.h"
#include "trainer/data/chat_template/scopes.h"
#include "trainer/data/chat_template/token_stream.h"

namespace regroup::chat {
namespace {

using Does = Statement::Kind;
using Names = std::vector<std::string_view>;

constexpr std::array kReserved = {"true", "True",   "false",  "False", "none",   "None",
                                  "loop", "caller", "kwargs", "self",  "varargs"};

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(CutIntoTokens(source)), expressions_(tokens_) {}

  Template Run() {
    Template parsed;
    parsed.root.body = ParseBlock({});
    ResolveScopes(parsed);
    return parsed;
  }

 private:
  Statement Make(Does kind) const {
    Statement made;
    made.kind = kind;
    made.line = tokens_.line();
    return made;
  }

  void EndTag() { tokens_.Expect(Token::Kind::kTagEnd, "the end of a tag"); }

  /// Reads up to a tag of one of the names, and takes the tag's name.
  Block ParseBlock(const Names& ends, std::string* end = nullptr) {
    const TokenStream::Level level(tokens_);
    Block block;
    while (!tokens_.Is(Token::Kind::kEnd)) {
      if (tokens_.Is(Token::Kind::kText)) {
        block.push_back(Make(Does::kText));
        block.back().text = tokens_.Take().text;
      } else if (tokens_.Is(Token::Kind::kPrintBegin)) {
        tokens_.Take();
        block.push_back(Make(Does::kPrint));
        block.back().values.push_back(expressions_.ParseTuple());
        tokens_.Expect(Token::Kind::kPrintEnd, "the end of a tag");
      } else {
        tokens_.Expect(Token::Kind::kTagBegin, "a tag");
        if (std::any_of(ends.begin(), ends.end(), [this](std::string_view name) { return tokens_.IsName(name); })) {
          const std::string taken = tokens_.Take().text;
          if (end != nullptr) *end = taken;
          return block;
        }
        block.push_back(ParseTag());
      }
    }
    if (!ends.empty()) tokens_.Fail(fmt::format("{{% {} %}}", ends.back()));
    return block;
  }

  /// Reads a block that has variables of its own, up to the end of the tag that ends it. Loops around it do not count.
  Block ParseScope(std::string_view end) {
    EndTag();
    const int loops = std::exchange(loops_, 0);
    ++scopes_;
    Block block = ParseBlock({end});
    --scopes_;
    loops_ = loops;
    EndTag();
    return block;
  }

  Statement ParseTag() {
    const int64_t line = tokens_.line();
    const std::string name = tokens_.ExpectName();
    if (name == "if") return ParseIf();
    if (name == "for") return ParseFor();
    if (name == "set") return ParseSet();
    if (name == "macro") return ParseMacro();
    if (name == "filter" || name == "generation") return ParseScopedBlock(name);
    if (name == "break" || name == "continue") {
      if (loops_ == 0) Unsupported(fmt::format("{{% {} %}} outside of a loop's own block", name), line);
      EndTag();
      return Make(name == "break" ? Does::kBreak : Does::kContinue);
    }
    Unsupported(fmt::format("the tag '{}'", name), line);
  }

  Statement ParseIf() {
    Statement made = Make(Does::kIf);
    std::string end = "if";
    while (end == "if" || end == "elif") {
      made.values.push_back(expressions_.ParseTuple(/*with_choice=*/false));
      EndTag();
      made.bodies.push_back(ParseBlock({"elif", "else", "endif"}, &end));
    }
    if (end == "else") {
      EndTag();
      made.bodies.push_back(ParseBlock({"endif"}));
    }
    EndTag();
    return made;
  }

  std::string ParseTarget() {
    const int64_t line = tokens_.line();
    std::string name = tokens_.ExpectName();
    if (std::find(kReserved.begin(), kReserved.end(), name) != kReserved.end()) {
      Unsupported(fmt::format("assigning to '{}'", name), line);
    }
    return name;
  }

  /// Reads one target or several, with or without parentheses.
  void ParseTargets(Statement& made) {
    const bool in_parentheses = tokens_.TakeSign("(");
    made.targets.push_back(ParseTarget());
    while (tokens_.TakeSign(",")) {
      made.unpacks = true;
      if (!tokens_.Is(Token::Kind::kName) || tokens_.IsName("in")) break;
      made.targets.push_back(ParseTarget());
    }
    if (in_parentheses) tokens_.ExpectSign(")");
  }

  Statement ParseFor() {
    Statement made = Make(Does::kFor);
    ParseTargets(made);
    if (!tokens_.TakeName("in")) tokens_.Fail("'in'");
    made.values.push_back(expressions_.ParseTuple(/*with_choice=*/false));
    made.values.push_back(tokens_.TakeName("if") ? expressions_.Parse() : nullptr);
    if (tokens_.IsName("recursive")) Unsupported("a recursive loop", tokens_.line());
    EndTag();
    std::string end;
    ++loops_;
    ++scopes_;
    made.scope.body = ParseBlock({"else", "endfor"}, &end);
    --loops_;
    if (end == "else") {
      EndTag();
      made.otherwise.body = ParseBlock({"endfor"});
    }
    --scopes_;
    EndTag();
    return made;
  }

  Statement ParseSet() {
    Statement made = Make(Does::kSet);
    ParseTargets(made);
    if (tokens_.TakeSign(".")) {
      if (made.unpacks) Unsupported("assigning to several attributes", made.line);
      made.attribute = tokens_.ExpectName();
    }
    if (tokens_.TakeSign("=")) {
      made.values.push_back(expressions_.ParseTuple());
      EndTag();
      return made;
    }
    if (made.unpacks || !made.attribute.empty())
      Unsupported("a block for several variables or an attribute", made.line);
    made.kind = Does::kSetBlock;
    made.values.push_back(ParseBlockFilters(nullptr));
    made.scope.body = ParseScope("endset");
    return made;
  }

  /// Reads `filters` more, each behind a '|'.
  ExpressionPtr ParseBlockFilters(ExpressionPtr filters) {
    while (tokens_.TakeSign("|")) filters = expressions_.ParseFilter(std::move(filters));
    return filters;
  }

  Statement ParseMacro() {
    Statement made = Make(Does::kMacro);
    if (scopes_ > 0) Unsupported("a macro within a loop or another block", made.line);
    made.text = ParseTarget();
    tokens_.ExpectSign("(");
    while (!tokens_.IsSign(")")) {
      if (!made.targets.empty()) tokens_.ExpectSign(",");
      made.targets.push_back(ParseTarget());
      if (std::count(made.targets.begin(), made.targets.end(), made.targets.back()) > 1) {
        Malformed(fmt::format("the parameter '{}' is named twice", made.targets.back()), made.line);
      }
      const bool has_default = tokens_.TakeSign("=");
      if (!has_default && !made.values.empty() && made.values.back() != nullptr) {
        Malformed("a parameter without a default follows one with a default", made.line);
      }
      made.values.push_back(has_default ? expressions_.Parse() : nullptr);
    }
    tokens_.ExpectSign(")");
    made.scope.body = ParseScope("endmacro");
    return made;
  }

  Statement ParseScopedBlock(const std::string& name) {
    Statement made = Make(Does::kScopedBlock);
    ExpressionPtr filters;
    if (name == "filter") filters = ParseBlockFilters(expressions_.ParseFilter(nullptr));
    made.values.push_back(std::move(filters));
    made.scope.body = ParseScope("end" + name);
    return made;
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  /// Loops around the statement within its own scope, and scopes around it.
  int loops_ = 0, scopes_ = 0;
};

}  // namespace

Template Parse(std::string_view source) { return Parser(source).Run(); }

}  // namespace regroup::chat
