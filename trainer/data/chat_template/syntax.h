// A parsed chat template. Immutable once parsed; any thread may read.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "trainer/data/chat_template/value.h"

namespace regroup::chat {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind {
    kConstant,
    kName,
    kList,
    kTuple,
    /// `parts` are keys and values in turn.
    kMapping,
    /// parts[0].name
    kAttribute,
    /// parts[0][parts[1]]
    kItem,
    /// parts[0][parts[1]:parts[2]:parts[3]]; those that are left out are null.
    kSlice,
    /// parts[0](parts[1], ..., named)
    kCall,
    /// parts[0] | name(parts[1], ..., named)
    kFilter,
    /// parts[0] is name(parts[1], ...)
    kTest,
    kNot,
    kMinus,
    kPlus,
    /// parts[0] name parts[1], where `name` is the sign.
    kBinary,
    kAnd,
    kOr,
    /// The parts joined as text.
    kConcat,
    /// parts[0] signs[0] parts[1] signs[1] parts[2] ...
    kCompare,
    /// parts[1] if parts[0] else parts[2]; the last may be null.
    kChoice,
  };
  Kind kind = Kind::kConstant;
  int64_t line = 0;
  /// Levels of expressions within this one, and itself.
  int depth = 1;
  std::string name;
  Value constant;
  std::vector<ExpressionPtr> parts;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  std::vector<std::string> signs;
};

struct Statement;
using Block = std::vector<Statement>;

/// Names that a scope assigns before it reads them: they are undefined at its start, whatever the scopes around it
/// hold.
using Blanks = std::set<std::string>;

struct Scope {
  Block body;
  Blanks blanks;
};

struct Statement {
  enum class Kind {
    kText,
    kPrint,
    /// For each of `bodies` a condition in `values`; one body more is that of else. They share the scope around them.
    kIf,
    /// values[0] is what the loop goes through, values[1] its condition or null. `otherwise` is the block of else.
    kFor,
    /// targets = values[0]; with `attribute`, targets[0].attribute = values[0].
    kSet,
    /// targets[0] = the text of the scope, through the filters around a null in values[0], if there are any.
    kSetBlock,
    /// `text` is the name; `targets` are the parameters, with their defaults, or null, in `values`.
    kMacro,
    kBreak,
    kContinue,
    /// The text of the scope, through the filters of values[0] if there are any.
    kScopedBlock,
  };
  Kind kind = Kind::kText;
  int64_t line = 0;
  std::string text;
  std::vector<ExpressionPtr> values;
  std::vector<std::string> targets;
  /// Says that targets unpack a value, though they may be only one.
  bool unpacks = false;
  std::string attribute;
  std::vector<Block> bodies;
  Scope scope, otherwise;
  bool uses_loop = false;
};

struct Template {
  Scope root;
  /// A variable by which a conversation can give the date, so that the template does not ask for it; may be empty.
  std::string date_variable;
};

}  // namespace regroup::chat
