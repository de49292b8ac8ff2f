// The names of a section's data as the job file has them: files, folders and patterns. Pure.
#pragma once

#include <string>
#include <vector>

namespace regroup {

/// Returns the names in `data` or `data_files`, in the order in which they are read; empty if the section has none.
template <typename Section>
std::vector<std::string> DataNames(const Section& section) {
  if (!section.data().empty()) return {section.data()};
  return {section.data_files().begin(), section.data_files().end()};
}

/// Returns true if the section names data.
template <typename Section>
bool HasData(const Section& section) {
  return !section.data().empty() || !section.data_files().empty();
}

}  // namespace regroup
