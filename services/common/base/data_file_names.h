// Decides by their names which files of a folder hold text to read. Pure.
#pragma once

#include <string_view>

namespace regroup {

inline bool IsCompressedName(std::string_view name) {
  return name.ends_with(".gz") || name.ends_with(".zst") || name.ends_with(".parquet");
}

/// Returns true for the names, without folders, that are read if a job file names their folder.
inline bool IsDataName(std::string_view name) {
  if (name.ends_with(".gz")) name.remove_suffix(3);
  if (name.ends_with(".zst")) name.remove_suffix(4);
  const bool is_lines = name.ends_with(".jsonl") || name.ends_with(".ndjson") || name.ends_with(".json");
  return (is_lines || name.ends_with(".parquet")) && !name.starts_with('.');
}

}  // namespace regroup
