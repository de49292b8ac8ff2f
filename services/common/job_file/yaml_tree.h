// Parses the strict subset of YAML that job files and role files use into a tree with positions.
//
// One document of mappings, sequences and scalars. Anchors, aliases, tags, duplicate keys, keys that are not plain
// text, more than kMaximumDepth levels and more than kMaximumBytes are rejected. Only this unit uses yaml-cpp.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace regroup {

/// Line and column, counted from 1.
struct Position {
  int line = 1;
  int column = 1;
  bool operator==(const Position&) const = default;
};

/// A value of the file. Owns its children.
struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMapping };
  struct Entry;

  Kind kind = Kind::kNull;
  Position position;
  /// The text of a scalar, and whether it was quoted.
  std::string text;
  bool quoted = false;
  std::vector<YamlNode> items;
  std::vector<Entry> entries;
};

/// One key of a mapping with its value.
struct YamlNode::Entry {
  std::string key;
  Position position;
  YamlNode value;
};

inline constexpr size_t kMaximumBytes = 1 << 20;
inline constexpr size_t kMaximumDepth = 16;

/// "file:line:column: message".
std::string AtPosition(std::string_view file_name, Position position, std::string_view message);

/// Reads `text`. INVALID_ARGUMENT with file:line:column for anything outside of the strict subset. An empty document is
/// an empty mapping.
absl::StatusOr<YamlNode> ParseYamlTree(std::string_view text, std::string_view file_name);

}  // namespace regroup
