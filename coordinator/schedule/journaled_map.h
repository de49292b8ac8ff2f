// A map whose changes since the last commit can be listed, and undone if they could not be stored.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>

namespace regroup {

/// Keeps a copy of each value from before its first change. Not thread-safe. References stay valid until the value is
/// erased or rolled back.
template <typename Value>
class JournaledMap {
 public:
  const Value* Find(const std::string& key) const {
    const auto found = values_.find(key);
    return found == values_.end() ? nullptr : &found->second;
  }

  /// Returns the value under an existing key, to be changed.
  Value& Edit(const std::string& key) {
    Value& value = values_.at(key);
    before_.try_emplace(key, value);
    return value;
  }

  /// Adds or replaces a value.
  Value& Put(const std::string& key, Value value) {
    const Value* old = Find(key);
    before_.try_emplace(key, old != nullptr ? std::optional<Value>(*old) : std::nullopt);
    return values_.insert_or_assign(key, std::move(value)).first->second;
  }

  /// Removes a key from the journal because its value is the same as before.
  void Unmark(const std::string& key) { before_.erase(key); }

  /// Removes a value without an entry in the journal: forgetting is not a change.
  void Forget(const std::string& key) {
    values_.erase(key);
    before_.erase(key);
  }

  void Commit() { before_.clear(); }

  void Rollback() {
    for (auto& [key, value] : before_) {
      if (value) {
        values_.insert_or_assign(key, std::move(*value));
      } else {
        values_.erase(key);
      }
    }
    before_.clear();
  }

  /// Returns the changed keys, each with its previous value; no value for a new key.
  const std::map<std::string, std::optional<Value>>& changes() const { return before_; }

  auto begin() const { return values_.begin(); }
  auto end() const { return values_.end(); }
  /// Returns the first entry with a larger key.
  auto after(const std::string& key) const { return values_.upper_bound(key); }
  size_t size() const { return values_.size(); }

 private:
  std::map<std::string, Value> values_;
  std::map<std::string, std::optional<Value>> before_;
};

}  // namespace regroup
