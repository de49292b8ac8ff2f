// The values of a chat template, with the meaning that Python and Jinja give them.
//
// Values are immutable and cheap to copy, except namespaces, which templates use as variables, and generators, which
// can be read once. One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace regroup::chat {

/// Lists in lists, and so on: more than JSON may nest (bounded_json.h), so that a template can wrap a line's values.
inline constexpr int kMaxValueDepth = 150;
/// Bytes of one value as Python prints it.
inline constexpr size_t kMaxPrintedBytes = size_t{64} << 20;

struct Statement;
struct Sequence;
struct Mapping;
struct Namespace;
struct Method;
struct Loop;

enum class Kind {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  /// A string that went through the filter `safe`.
  kMarkup,
  kList,
  kTuple,
  kRange,
  /// Result of a mapping's keys(), values() and items().
  kView,
  /// Result of filters such as `map`: true, without a length, and empty once it was read.
  kGenerator,
  kMapping,
  kNamespace,
  kMacro,
  /// A method of a value, not called yet.
  kMethod,
  /// A function that Jinja or Transformers gives to templates.
  kFunction,
  kLoop,
};

class Value {
 public:
  Value() = default;
  static Value Undefined(std::string name);
  static Value None() { return Value(Kind::kNone); }
  static Value Bool(bool value);
  static Value Int(int64_t value);
  static Value Float(double value);
  static Value String(std::string text);
  static Value Markup(std::string text);
  /// A sequence of any of the kinds from kList to kGenerator. Fails if the items nest too deeply.
  static Value Of(Kind kind, std::vector<Value> items);
  static Value Of(std::shared_ptr<const Mapping> mapping);
  static Value Of(std::shared_ptr<Namespace> names);
  static Value Of(Method method);
  static Value Of(std::shared_ptr<Loop> loop);
  static Value Macro(const Statement* macro);
  static Value Function(std::string name);
  /// Takes a line's value. Fails at a number that Python would keep exactly and a double does not.
  static Value FromJson(const nlohmann::ordered_json& json);

  Kind kind() const { return kind_; }
  bool Is(Kind kind) const { return kind_ == kind; }
  bool IsString() const { return kind_ == Kind::kString; }
  bool IsUndefined() const { return kind_ == Kind::kUndefined; }
  /// True for the kinds that are Python's int, of which bool is one.
  bool IsInteger() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }
  bool IsNumber() const { return IsInteger() || kind_ == Kind::kFloat; }
  bool IsSequence() const { return kind_ >= Kind::kList && kind_ <= Kind::kGenerator; }

  /// The value of a kInt or kBool; for kFloat see number().
  int64_t integer() const { return integer_; }
  /// The value of any number.
  double number() const { return kind_ == Kind::kFloat ? number_ : static_cast<double>(integer_); }
  /// The text of a string or markup; the name of what is undefined, or of a function.
  const std::string& text() const;
  /// The items of a sequence.
  const std::vector<Value>& items() const;
  /// Returns the items, and marks a generator as read; fails if it was read before.
  const std::vector<Value>& TakeItems() const;
  const Mapping& mapping() const;
  Namespace& names() const;
  const Method& method() const;
  Loop& loop() const;
  const Statement* macro() const { return macro_; }
  int depth() const;
  /// Returns about how many steps it takes to go through the value, with all that it holds; a value that is held twice
  /// counts twice.
  size_t weight() const;

 private:
  explicit Value(Kind kind) : kind_(kind) {}

  Kind kind_ = Kind::kUndefined;
  union {
    int64_t integer_ = 0;
    double number_;
  };
  const Statement* macro_ = nullptr;
  std::shared_ptr<const void> object_;
};

struct Sequence {
  std::vector<Value> items;
  int depth = 1;
  size_t weight = 1;
  mutable bool is_read = false;
};

/// A dict, in the order of its keys, which are strings.
struct Mapping {
  std::vector<std::pair<std::string, Value>> entries;
  std::unordered_map<std::string, size_t> places;
  int depth = 1;
  size_t weight = 1;

  /// Adds the key, or replaces its value.
  void Set(const std::string& key, Value value);
  const Value* Find(const std::string& key) const;
};

struct Namespace {
  std::map<std::string, Value> values;
};

struct Method {
  Value self;
  std::string name;
};

/// Values of the variable `loop`.
struct Loop {
  const std::vector<Value>* items = nullptr;
  size_t index = 0;
};

/// Returns "str", "list" and so on, for messages.
std::string_view TypeName(const Value& value);

bool IsTrue(const Value& value);
/// Tells whether Python can look the value up as a key.
bool IsHashable(const Value& value);
/// Compares as Python's ==.
bool AreEqual(const Value& left, const Value& right);
/// Compares as Python's <; fails for kinds that have no order.
bool IsLess(const Value& left, const Value& right);

/// Returns Python's str(), and of something undefined nothing. Fails for what Python shows by an address.
std::string ToText(const Value& value);
/// Appends Python's repr().
void AppendRepr(const Value& value, std::string& text);
std::string FloatText(double value);

}  // namespace regroup::chat
