#include "trainer/data/chat_template/expression_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <set>
#include <string_view>

#include "trainer/data/chat_template/failure.h"

namespace regroup::chat {
namespace {

using Is = Expression::Kind;

/// The operands of a long sum nest too: each is within the next.
constexpr int kMaxExpressionDepth = 300;

/// Names that Jinja or Python give a meaning that this folder does not know.
const std::set<std::string_view> kUnknownNames = {"caller", "cycler", "joiner", "kwargs", "lipsum", "self", "varargs"};

bool EndsTuple(const TokenStream& tokens) {
  return tokens.Is(Token::Kind::kTagEnd) || tokens.Is(Token::Kind::kPrintEnd) || tokens.IsSign(")") ||
         tokens.IsSign("=") || tokens.IsName("recursive");
}

}  // namespace

ExpressionPtr ExpressionParser::Make(Is kind) const {
  auto made = std::make_unique<Expression>();
  made->kind = kind;
  made->line = tokens_.line();
  return made;
}

template <typename... Parts>
ExpressionPtr ExpressionParser::Make(Is kind, std::string name, Parts... parts) const {
  ExpressionPtr made = Make(kind);
  made->name = std::move(name);
  (made->parts.push_back(std::move(parts)), ...);
  return Counted(std::move(made));
}

void ExpressionParser::Count(Expression& made) {
  int depth = 0;
  for (const ExpressionPtr& part : made.parts) depth = part == nullptr ? depth : std::max(depth, part->depth);
  for (const auto& [name, part] : made.named) depth = std::max(depth, part->depth);
  made.depth = depth + 1;
  if (made.depth > kMaxExpressionDepth) {
    Unsupported(fmt::format("an expression of more than {} levels", kMaxExpressionDepth), made.line);
  }
}

ExpressionPtr ExpressionParser::Counted(ExpressionPtr made) {
  Count(*made);
  return made;
}

ExpressionPtr ExpressionParser::Parse(bool with_choice) {
  const TokenStream::Level level(tokens_);
  ExpressionPtr value = ParseOr();
  while (with_choice && tokens_.TakeName("if")) {
    ExpressionPtr condition = ParseOr();
    ExpressionPtr otherwise = tokens_.TakeName("else") ? Parse() : nullptr;
    value = Make(Is::kChoice, "", std::move(condition), std::move(value), std::move(otherwise));
  }
  return value;
}

ExpressionPtr ExpressionParser::ParseTuple(bool with_choice) {
  ExpressionPtr first = Parse(with_choice);
  if (!tokens_.IsSign(",")) return first;
  ExpressionPtr tuple = Make(Is::kTuple, "", std::move(first));
  while (tokens_.TakeSign(",") && !EndsTuple(tokens_)) tuple->parts.push_back(Parse(with_choice));
  return Counted(std::move(tuple));
}

ExpressionPtr ExpressionParser::ParseOr() {
  ExpressionPtr left = ParseAnd();
  while (tokens_.TakeName("or")) left = Make(Is::kOr, "", std::move(left), ParseAnd());
  return left;
}

ExpressionPtr ExpressionParser::ParseAnd() {
  ExpressionPtr left = ParseNot();
  while (tokens_.TakeName("and")) left = Make(Is::kAnd, "", std::move(left), ParseNot());
  return left;
}

ExpressionPtr ExpressionParser::ParseNot() {
  const TokenStream::Level level(tokens_);
  if (tokens_.TakeName("not")) return Make(Is::kNot, "", ParseNot());
  return ParseCompare();
}

ExpressionPtr ExpressionParser::ParseCompare() {
  ExpressionPtr first = ParseSum();
  ExpressionPtr compare;
  while (true) {
    std::string sign;
    for (const std::string_view known : {"==", "!=", "<", "<=", ">", ">="}) {
      if (tokens_.IsSign(known)) sign = known;
    }
    if (tokens_.IsName("in")) sign = "in";
    if (tokens_.IsName("not") && tokens_.after().IsName("in")) {
      tokens_.Take();
      sign = "not in";
    }
    if (sign.empty()) break;
    tokens_.Take();
    if (compare == nullptr) compare = Make(Is::kCompare, "", std::move(first));
    compare->signs.push_back(std::move(sign));
    compare->parts.push_back(ParseSum());
  }
  return compare == nullptr ? std::move(first) : Counted(std::move(compare));
}

ExpressionPtr ExpressionParser::ParseSum() {
  ExpressionPtr left = ParseConcat();
  while (tokens_.IsSign("+") || tokens_.IsSign("-")) {
    std::string sign = tokens_.Take().text;
    left = Make(Is::kBinary, std::move(sign), std::move(left), ParseConcat());
  }
  return left;
}

ExpressionPtr ExpressionParser::ParseConcat() {
  ExpressionPtr first = ParseProduct();
  if (!tokens_.IsSign("~")) return first;
  ExpressionPtr concat = Make(Is::kConcat, "", std::move(first));
  while (tokens_.TakeSign("~")) concat->parts.push_back(ParseProduct());
  return Counted(std::move(concat));
}

ExpressionPtr ExpressionParser::ParseProduct() {
  ExpressionPtr left = ParsePower();
  while (tokens_.IsSign("*") || tokens_.IsSign("/") || tokens_.IsSign("//") || tokens_.IsSign("%")) {
    std::string sign = tokens_.Take().text;
    left = Make(Is::kBinary, std::move(sign), std::move(left), ParsePower());
  }
  return left;
}

ExpressionPtr ExpressionParser::ParsePower() {
  ExpressionPtr left = ParseUnary(true);
  while (tokens_.TakeSign("**")) left = Make(Is::kBinary, "**", std::move(left), ParseUnary(true));
  return left;
}

ExpressionPtr ExpressionParser::ParseUnary(bool with_filters) {
  const TokenStream::Level level(tokens_);
  ExpressionPtr value;
  if (tokens_.TakeSign("-")) {
    value = Make(Is::kMinus, "", ParseUnary(false));
  } else if (tokens_.TakeSign("+")) {
    value = Make(Is::kPlus, "", ParseUnary(false));
  } else {
    value = ParsePrimary();
  }
  value = ParsePostfix(std::move(value));
  return with_filters ? ParseFilters(std::move(value)) : std::move(value);
}

ExpressionPtr ExpressionParser::ParsePrimary() {
  const Token& token = tokens_.now();
  if (token.kind == Token::Kind::kName) return ParseName();
  if (token.kind == Token::Kind::kString) return ParseTextLiteral();
  if (token.kind == Token::Kind::kInteger || token.kind == Token::Kind::kFloat) {
    ExpressionPtr made = Make(Is::kConstant);
    const std::string digits = tokens_.Take().text;
    int64_t number = 0;
    if (token.kind == Token::Kind::kFloat) {
      made->constant = Value::Float(std::strtod(digits.c_str(), nullptr));
    } else if (std::from_chars(digits.data(), digits.data() + digits.size(), number).ec == std::errc()) {
      made->constant = Value::Int(number);
    } else {
      Unsupported("an integer that is so large", made->line);
    }
    return made;
  }
  if (tokens_.IsSign("(")) return ParseParentheses();
  if (tokens_.IsSign("[")) return ParseList();
  if (tokens_.IsSign("{")) return ParseMapping();
  tokens_.Fail("a value");
}

ExpressionPtr ExpressionParser::ParseName() {
  ExpressionPtr made = Make(Is::kConstant);
  std::string name = tokens_.Take().text;
  if (name == "true" || name == "True" || name == "false" || name == "False") {
    made->constant = Value::Bool(name == "true" || name == "True");
  } else if (name == "none" || name == "None") {
    made->constant = Value::None();
  } else {
    if (kUnknownNames.contains(name)) Unsupported(fmt::format("the name '{}'", name), made->line);
    made->kind = Is::kName;
    made->name = std::move(name);
  }
  return made;
}

ExpressionPtr ExpressionParser::ParseTextLiteral() {
  ExpressionPtr made = Make(Is::kConstant);
  std::string text = tokens_.Take().text;
  while (tokens_.Is(Token::Kind::kString)) text += tokens_.Take().text;
  made->constant = Value::String(std::move(text));
  return made;
}

ExpressionPtr ExpressionParser::ParseParentheses() {
  tokens_.ExpectSign("(");
  if (tokens_.IsSign(")")) {
    ExpressionPtr empty = Make(Is::kTuple);
    tokens_.Take();
    return empty;
  }
  ExpressionPtr value = ParseTuple();
  tokens_.ExpectSign(")");
  return value;
}

ExpressionPtr ExpressionParser::ParseList() {
  ExpressionPtr list = Make(Is::kList);
  tokens_.ExpectSign("[");
  while (!tokens_.IsSign("]")) {
    if (!list->parts.empty()) tokens_.ExpectSign(",");
    if (tokens_.IsSign("]")) break;
    list->parts.push_back(Parse());
  }
  tokens_.ExpectSign("]");
  return Counted(std::move(list));
}

ExpressionPtr ExpressionParser::ParseMapping() {
  ExpressionPtr mapping = Make(Is::kMapping);
  tokens_.ExpectSign("{");
  while (!tokens_.IsSign("}")) {
    if (!mapping->parts.empty()) tokens_.ExpectSign(",");
    if (tokens_.IsSign("}")) break;
    mapping->parts.push_back(Parse());
    tokens_.ExpectSign(":");
    mapping->parts.push_back(Parse());
  }
  tokens_.ExpectSign("}");
  return Counted(std::move(mapping));
}

ExpressionPtr ExpressionParser::ParsePostfix(ExpressionPtr value) {
  while (true) {
    if (tokens_.TakeSign(".")) {
      const Token token = tokens_.Take();
      if (token.kind != Token::Kind::kName) Unsupported("a number as an attribute", token.line);
      if (token.text.starts_with("__")) Unsupported(fmt::format("the attribute '{}'", token.text), token.line);
      value = Make(Is::kAttribute, token.text, std::move(value));
    } else if (tokens_.IsSign("[")) {
      value = ParseSubscript(std::move(value));
    } else if (tokens_.IsSign("(")) {
      value = Make(Is::kCall, "", std::move(value));
      ParseArguments(*value);
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::ParseSubscript(ExpressionPtr value) {
  tokens_.ExpectSign("[");
  ExpressionPtr bounds[3];
  int colons = 0;
  while (!tokens_.IsSign("]")) {
    if (tokens_.TakeSign(":")) {
      if (++colons > 2) tokens_.Fail("']'");
    } else if (bounds[colons] == nullptr) {
      bounds[colons] = Parse();
    } else if (tokens_.IsSign(",")) {
      Unsupported("several keys in one pair of brackets", tokens_.line());
    } else {
      tokens_.Fail("']'");
    }
  }
  if (colons == 0 && bounds[0] == nullptr) tokens_.Fail("a key");
  tokens_.ExpectSign("]");
  if (colons == 0) return Make(Is::kItem, "", std::move(value), std::move(bounds[0]));
  return Make(Is::kSlice, "", std::move(value), std::move(bounds[0]), std::move(bounds[1]), std::move(bounds[2]));
}

void ExpressionParser::ParseArguments(Expression& call) {
  tokens_.ExpectSign("(");
  for (bool is_first = true; !tokens_.IsSign(")"); is_first = false) {
    if (!is_first) tokens_.ExpectSign(",");
    if (tokens_.IsSign(")")) break;
    if (tokens_.IsSign("*") || tokens_.IsSign("**")) Unsupported("an argument with '*'", tokens_.line());
    if (tokens_.Is(Token::Kind::kName) && tokens_.after().IsSign("=")) {
      std::string name = tokens_.Take().text;
      tokens_.Take();
      for (const auto& [other, value] : call.named) {
        if (other == name) Malformed(fmt::format("the argument '{}' is given twice", name), tokens_.line());
      }
      call.named.emplace_back(std::move(name), Parse());
    } else {
      if (!call.named.empty()) tokens_.Fail("an argument with a name");
      call.parts.push_back(Parse());
    }
  }
  tokens_.ExpectSign(")");
  Count(call);
}

ExpressionPtr ExpressionParser::ParseFilter(ExpressionPtr value) {
  const std::string name = tokens_.ExpectName();
  ExpressionPtr filter = Make(Is::kFilter, name, std::move(value));
  if (tokens_.IsSign(".")) Unsupported("a filter with a dot in its name", filter->line);
  CheckFilterName(name, filter->line);
  if (tokens_.IsSign("(")) ParseArguments(*filter);
  return filter;
}

ExpressionPtr ExpressionParser::ParseFilters(ExpressionPtr value) {
  while (true) {
    if (tokens_.TakeSign("|")) {
      value = ParseFilter(std::move(value));
    } else if (tokens_.TakeName("is")) {
      value = ParseTest(std::move(value));
    } else if (tokens_.IsSign("(")) {
      value = Make(Is::kCall, "", std::move(value));
      ParseArguments(*value);
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::ParseTest(ExpressionPtr value) {
  const bool negated = tokens_.TakeName("not");
  const std::string name = tokens_.ExpectName();
  ExpressionPtr test = Make(Is::kTest, name, std::move(value));
  CheckTestName(name, test->line);
  const Token& next = tokens_.now();
  const bool begins_value = next.kind == Token::Kind::kString || next.kind == Token::Kind::kInteger ||
                            next.kind == Token::Kind::kFloat || next.IsSign("[") || next.IsSign("{");
  const bool is_argument_name =
      next.kind == Token::Kind::kName && !next.IsName("else") && !next.IsName("or") && !next.IsName("and");
  if (next.IsName("is")) tokens_.Fail("only one test");
  if (next.IsSign("(")) {
    ParseArguments(*test);
    if (!test->named.empty()) Unsupported("a test with named arguments", test->line);
  } else if (begins_value || is_argument_name) {
    test->parts.push_back(ParsePostfix(ParsePrimary()));
    Count(*test);
  }
  return negated ? Make(Is::kNot, "", std::move(test)) : std::move(test);
}

}  // namespace regroup::chat
