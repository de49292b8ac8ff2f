// Checks of single values that a job's keys have in common; each adds a violation that names the key. One thread.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "services/common/base/error.h"
#include "services/common/job_file/known_words.h"
#include "services/common/job_file/nearest_word.h"

namespace regroup {

inline bool HasControls(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

/// Returns the user's text as a violation quotes it; never cut within a UTF-8 character, which a message could not
/// hold.
inline std::string_view Shown(std::string_view text) {
  constexpr size_t kLongestShown = 100;
  return HasControls(text) || text.size() > kLongestShown ? "..." : text;
}

class SpecChecks {
 protected:
  std::vector<FieldViolation> TakeViolations() { return std::move(violations_); }

  template <typename... Values>
  void Add(std::string_view field, fmt::format_string<Values...> description, Values&&... values) {
    FieldViolation violation;
    violation.set_field(std::string(field));
    violation.set_description(fmt::format(description, std::forward<Values>(values)...));
    violations_.push_back(std::move(violation));
  }

  void Require(std::string_view field, const std::string& value, std::string_view what_to_do) {
    if (value.empty()) Add(field, "is missing; {}", what_to_do);
  }

  void CheckRange(std::string_view field, int64_t value, int64_t lowest, int64_t highest) {
    if (value < lowest || value > highest) Add(field, "is {}; write a number from {} to {}", value, lowest, highest);
  }

  /// Rejects long lists: a request of 16 MB has room for millions of items.
  bool IsTooLong(std::string_view field, int items) {
    constexpr int most_items = 256;
    if (items > most_items) Add(field, "has {} items; a job has at most {}", items, most_items);
    return items > most_items;
  }

  void CheckWord(std::string_view field, std::string_view word, WordList known) {
    if (std::find(known.begin(), known.end(), word) != known.end()) return;
    if (const auto nearest = NearestWord(word, known)) {
      Add(field, "'{}' is not known; did you mean '{}'? Known: {}", word, *nearest, ListWords(known));
    } else {
      Add(field, "'{}' is not known; write {}", word, ListWords(known));
    }
  }

  /// Runs `check(field, value)` on every element and rejects a value that is listed twice.
  template <typename List, typename Check>
  void CheckList(const std::string& field, const List& values, Check check) {
    if (IsTooLong(field, values.size())) return;
    std::set<std::decay_t<decltype(*values.begin())>> seen;
    for (int i = 0; i < values.size(); ++i) {
      const std::string item = fmt::format("{}[{}]", field, i);
      check(item, values[i]);
      if (!seen.insert(values[i]).second) Add(item, "{} is listed twice; remove one", values[i]);
    }
  }

 private:
  std::vector<FieldViolation> violations_;
};

}  // namespace regroup
