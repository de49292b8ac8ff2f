// Measures likeness by the negative mean squared distance of two heads, after one was rotated towards the other:
// -(E|a_i|^2 + E|a_j|^2 - 2 max_Q tr(G_ij Q)).
#include <ATen/ATen.h>

#include "trainer/alignment/registry.h"
#include "trainer/alignment/similarities/pairwise.h"

namespace regroup {
namespace {

Similarity::Matrix FromInnerProducts(const at::Tensor& inner, const at::Tensor& energy) {
  return {2 * inner - energy.unsqueeze(0) - energy.unsqueeze(1), energy};
}

Similarity::Matrix DistanceOfValues(const LayerGrams& grams) {
  return FromInnerProducts(BlockNuclearNorms(grams.value), BlockTraces(grams.value));
}

Similarity::Matrix DistanceOfKeys(const LayerGrams& grams) {
  return FromInnerProducts(KeyInnerProducts(grams.key_pairs, grams.key_free, grams),
                           PairTraces(grams.key_pairs) + BlockTraces(grams.key_free));
}

}  // namespace

extern const Similarity kDistanceSimilarity{
    .name = "distance",
    .summary = "negative mean squared distance of aligned heads",
    .unit_grams = false,
    .of_values = DistanceOfValues,
    .of_keys = DistanceOfKeys,
};

}  // namespace regroup
