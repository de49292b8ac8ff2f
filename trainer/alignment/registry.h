// Declares the tables of alignment methods and similarities, which CMake generates from the lists in CMakeLists.txt.
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

/// Options that a method gets in addition to the Grams.
struct MethodOptions {
  /// AlignmentOptions::restore_norm, or the method's default.
  bool restore_norm = false;
  /// True to use keys and values scaled to unit length, if the method can.
  bool unit_length = false;
};

/// How far a method turns keys behind a norm (key_norm.h).
enum class NormMaps { kNone, kSigns, kPhases };

/// Aligns and merges the heads of one group.
struct AlignmentMethod {
  std::string_view name;
  /// A phrase that describes the method to users.
  std::string_view summary;
  /// The default of AlignmentOptions::restore_norm.
  bool restore_norm;
  /// True if a scale that leaves the function unchanged is chosen afterwards, when restore_norm is set.
  bool free_gauge;
  /// True if the method uses unit-length heads whenever the similarity does.
  bool follows_similarity;
  NormMaps behind_norm;
  /// Finds the maps; `group` holds the Grams of the group's heads only. Runs on one thread, for several groups at once.
  GroupMaps (*solve)(const LayerGrams& group, const MethodOptions& options);
};

/// A measure of how alike two heads are.
struct Similarity {
  std::string_view name;
  std::string_view summary;
  /// True if it reads unit-length Grams.
  bool unit_grams;
  /// `pairs` is symmetric [H, H], larger for heads that are more alike; its diagonal may hold anything. `self` [H] is
  /// the similarity of a head with itself: `joint` divides by its mean before it adds keys and values.
  struct Matrix {
    at::Tensor pairs;
    at::Tensor self;
  };
  Matrix (*of_values)(const LayerGrams& grams);
  Matrix (*of_keys)(const LayerGrams& grams);
};

std::span<const AlignmentMethod* const> AlignmentMethods();
std::span<const Similarity* const> Similarities();
/// These return the entry with this name, or null.
const AlignmentMethod* FindAlignmentMethod(std::string_view name);
const Similarity* FindSimilarity(std::string_view name);

}  // namespace regroup
