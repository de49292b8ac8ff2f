// A set of attempts, for lists that a worker sends: a lookup takes logarithmic time, whatever the list's length.
//
// The set refers to the strings of the attempts, which must outlive it. Not thread-safe.
#pragma once

#include <cstdint>
#include <set>
#include <string_view>
#include <tuple>

#include "regroup/v1/worker_service.pb.h"

namespace regroup {

class AttemptSet {
 public:
  AttemptSet() = default;
  template <typename List>
  explicit AttemptSet(const List& attempts) {
    for (const v1::AttemptId& attempt : attempts) Insert(attempt);
  }

  /// Returns false if the attempt was in the set already.
  bool Insert(const v1::AttemptId& attempt) { return keys_.insert(KeyOf(attempt)).second; }
  bool Contains(const v1::AttemptId& attempt) const { return keys_.contains(KeyOf(attempt)); }

 private:
  using Key = std::tuple<std::string_view, std::string_view, int64_t>;
  static Key KeyOf(const v1::AttemptId& attempt) { return {attempt.job(), attempt.task(), attempt.epoch()}; }

  std::set<Key> keys_;
};

}  // namespace regroup
