// How the steps of a chat template report what they cannot do: by an exception, which never leaves this folder. Load
// and Render (chat_template.h) turn it into a status. Pure functions, for any thread.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace regroup::chat {

struct Failure {
  enum class Kind {
    /// The template is not one: Jinja refuses it too.
    kMalformed,
    /// Jinja may accept it; we do not.
    kUnsupported,
    /// An operation fails on the values of this conversation, in Jinja too.
    kWrongValue,
    /// The template called raise_exception.
    kRaised,
  };
  Kind kind = Kind::kWrongValue;
  std::string what;
  /// Line of the template, from 1; 0 where it is not known yet.
  int64_t line = 0;
};

[[noreturn]] inline void Malformed(std::string what, int64_t line = 0) {
  throw Failure{Failure::Kind::kMalformed, std::move(what), line};
}
[[noreturn]] inline void Unsupported(std::string what, int64_t line = 0) {
  throw Failure{Failure::Kind::kUnsupported, std::move(what), line};
}
[[noreturn]] inline void WrongValue(std::string what) { throw Failure{Failure::Kind::kWrongValue, std::move(what)}; }

}  // namespace regroup::chat
