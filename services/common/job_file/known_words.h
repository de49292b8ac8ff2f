// The words that string fields of a job accept. Model families are listed in trainer/families instead.
#pragma once

#include <array>
#include <span>
#include <string_view>

namespace regroup {

inline constexpr std::array<std::string_view, 2> kRecipes = {"paper", "best"};
inline constexpr std::array<std::string_view, 2> kPerLayerWords = {"none", "auto"};
inline constexpr std::array<std::string_view, 3> kAlignmentMethods = {"none", "procrustes", "principal"};
inline constexpr std::array<std::string_view, 4> kCompareWords = {"none", "key", "value", "joint"};
inline constexpr std::array<std::string_view, 3> kSimilarities = {"cosine", "distance", "residual"};
inline constexpr std::array<std::string_view, 2> kLayerwiseMethods = {"none", "distill"};
inline constexpr std::array<std::string_view, 3> kFinetuneMethods = {"none", "direct", "l0"};
inline constexpr std::array<std::string_view, 4> kTrainedWords = {"all", "attention", "lora", "auto"};
inline constexpr std::array<std::string_view, 3> kRecomputeWords = {"none", "feed_forward", "block"};
inline constexpr std::array<std::string_view, 2> kTeacherWords = {"compute", "cache"};
inline constexpr std::array<std::string_view, 4> kShardWords = {"auto", "optimizer", "gradients", "all"};
inline constexpr std::array<std::string_view, 2> kLossWords = {"kl", "bild"};
inline constexpr std::array<std::string_view, 3> kPrecisions = {"auto", "float32", "bfloat16"};
inline constexpr std::array<std::string_view, 5> kCacheDtypes = {"auto", "float32", "bfloat16", "float16", "fp8"};
inline constexpr std::array<std::string_view, 3> kDevices = {"auto", "cpu", "cuda"};

using WordList = std::span<const std::string_view>;

}  // namespace regroup
