// The arguments of a call in a chat template. One thread.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trainer/data/chat_template/value.h"

namespace regroup::chat {

struct Arguments {
  std::vector<Value> values;
  std::vector<std::pair<std::string, Value>> named;
};

/// Arguments by the names of their parameters.
class Bound {
 public:
  /// Throws Failure for more arguments than parameters, and for names that are none. `what` is what was called.
  Bound(std::string_view what, const Arguments& arguments, std::initializer_list<std::string_view> parameters);
  /// Does the same for a call that takes no names.
  static Bound ByPlace(std::string_view what, const Arguments& arguments,
                       std::initializer_list<std::string_view> parameters);

  bool Has(size_t parameter) const { return given_[parameter]; }
  /// Throws Failure if the argument is missing.
  const Value& At(size_t parameter) const;
  /// Returns the argument, or `otherwise`.
  Value Or(size_t parameter, Value otherwise) const;
  bool Flag(size_t parameter, bool otherwise) const;
  /// Returns true for an argument that is given and not None.
  bool IsSet(size_t parameter) const { return Has(parameter) && !values_[parameter].Is(Kind::kNone); }

 private:
  std::string what_;
  std::vector<Value> values_;
  std::vector<bool> given_;
};

}  // namespace regroup::chat
