// Questions about the names that VisitBlock and VisitParameters give to parameters.
#pragma once

#include <string>

namespace regroup {

/// Returns true for the projections of an attention, their biases, and its norms of queries and keys.
inline bool IsOfAttention(const std::string& parameter) { return parameter.find(".attention.") != std::string::npos; }

/// Returns true for those of keys and values, with the norm of keys.
inline bool IsOfSharedHeads(const std::string& parameter) {
  return parameter.find("attention.key") != std::string::npos || parameter.find("attention.value") != std::string::npos;
}

}  // namespace regroup
