#include "trainer/alignment/registry.h"

namespace regroup {
namespace {

template <typename Entry>
const Entry* Find(std::span<const Entry* const> table, std::string_view name) {
  for (const Entry* entry : table) {
    if (entry->name == name) return entry;
  }
  return nullptr;
}

}  // namespace

const AlignmentMethod* FindAlignmentMethod(std::string_view name) { return Find(AlignmentMethods(), name); }

const Similarity* FindSimilarity(std::string_view name) { return Find(Similarities(), name); }

}  // namespace regroup
