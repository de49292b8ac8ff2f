// How much one conversation may cost: a template comes with somebody else's checkpoint. One thread.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "trainer/data/chat_template/failure.h"
#include "trainer/data/chat_template/value.h"

namespace regroup::chat {

/// Seconds of a core; thousands of times what the templates of public models take for a long conversation.
inline constexpr size_t kMaxSteps = 50'000'000;
/// Bytes of all texts and lists that a template makes.
inline constexpr size_t kMaxMadeBytes = size_t{1} << 30;
/// Calls of macros within macros, and the expressions and blocks around them.
inline constexpr int kMaxEvaluationDepth = 600;

class Budget {
 public:
  void Step(size_t steps = 1) {
    steps_ += steps;
    if (steps_ > kMaxSteps) Unsupported("more steps than a conversation may take");
  }
  /// Must be called before the bytes are made.
  void Make(size_t bytes) {
    if (bytes > kMaxMadeBytes - made_) Unsupported("more text than a conversation may take");
    made_ += bytes;
    Step(bytes / 64);
  }
  Value Text(std::string text) {
    Make(text.size());
    return Value::String(std::move(text));
  }
  Value Items(Kind kind, std::vector<Value> items) {
    Make(items.size() * sizeof(Value));
    return Value::Of(kind, std::move(items));
  }

  class Level {
   public:
    explicit Level(Budget& budget) : budget_(budget) {
      budget_.Step();
      if (++budget_.depth_ > kMaxEvaluationDepth) Unsupported("calls that nest so deeply");
    }
    ~Level() { --budget_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Budget& budget_;
  };

 private:
  size_t steps_ = 0, made_ = 0;
  int depth_ = 0;
};

}  // namespace regroup::chat
