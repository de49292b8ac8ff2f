// Measures likeness by the mean cosine of two heads over tokens, after one was rotated towards the other as far as the
// model allows.
#include <ATen/ATen.h>

#include "trainer/alignment/registry.h"
#include "trainer/alignment/similarities/pairwise.h"

namespace regroup {
namespace {

Similarity::Matrix CosineOfValues(const LayerGrams& grams) {
  return {BlockNuclearNorms(grams.unit_value), BlockTraces(grams.unit_value)};
}

Similarity::Matrix CosineOfKeys(const LayerGrams& grams) {
  return {KeyInnerProducts(grams.unit_key_pairs, grams.unit_key_free, grams),
          PairTraces(grams.unit_key_pairs) + BlockTraces(grams.unit_key_free)};
}

}  // namespace

extern const Similarity kCosineSimilarity{
    .name = "cosine",
    .summary = "mean cosine of aligned heads over tokens",
    .unit_grams = true,
    .of_values = CosineOfValues,
    .of_keys = CosineOfKeys,
};

}  // namespace regroup
