// Gives the tables of alignment methods and similarities, which CMake generates from the lists in CMakeLists.txt.
//
// To add one: write <name>.cc in methods/ or similarities/ that defines the object declared by its table, and add its
// name to the list. Entries are constant and may be used from any thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <string_view>

#include "trainer/alignment/grouping.h"
#include "trainer/alignment/layer_grams.h"

namespace regroup {

/// Holds the maps of the heads of one group, in the group's order; fields as in LayerAlignment.
struct GroupMaps {
  at::Tensor value_align, value_merge, value_output;         // [s, w, w]
  at::Tensor key_pairs_align, key_pairs_merge, query_pairs;  // complex [s, pairs]
  at::Tensor key_free_align, key_free_merge, query_free;     // [s, f, f]
  int64_t iterations = 0;
};

/// Holds what a method is told besides the Grams.
struct MethodOptions {
  /// Is AlignmentOptions::restore_norm, or the method's default.
  bool restore_norm = false;
  /// Asks to look at keys and values scaled to unit length, where the method can.
  bool unit_length = false;
};

/// Describes how the heads of one group are made alike and merged.
struct AlignmentMethod {
  std::string_view name;
  /// Describes the method for users in one phrase.
  std::string_view summary;
  /// Is the default of AlignmentOptions::restore_norm.
  bool restore_norm;
  /// Is true if a scale that leaves the function unchanged is chosen afterwards, when restore_norm is set.
  bool free_gauge;
  /// Is true if the method looks at unit-length heads where the similarity does.
  bool follows_similarity;
  /// Finds the maps; `group` holds the Grams of the group's heads only. Runs on one thread, for several groups at once.
  GroupMaps (*solve)(const LayerGrams& group, const MethodOptions& options);
};

/// Describes a measure of how alike two heads are.
struct Similarity {
  std::string_view name;
  std::string_view summary;
  /// Is true if it reads unit-length Grams.
  bool unit_grams;
  /// `pairs` is symmetric [H, H], larger for heads that are more alike; its diagonal may hold anything. `self` [H] is
  /// what a head has in common with itself: `joint` divides by its mean before it adds keys and values.
  struct Matrix {
    at::Tensor pairs;
    at::Tensor self;
  };
  Matrix (*of_values)(const LayerGrams& grams);
  Matrix (*of_keys)(const LayerGrams& grams);
};

std::span<const AlignmentMethod* const> AlignmentMethods();
std::span<const Similarity* const> Similarities();
/// Return the entry with this name, or null.
const AlignmentMethod* FindAlignmentMethod(std::string_view name);
const Similarity* FindSimilarity(std::string_view name);

}  // namespace regroup
