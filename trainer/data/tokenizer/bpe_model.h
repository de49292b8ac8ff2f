// Implements byte-pair encoding: the "model" of tokenizer.json with type BPE.
//
// A piece starts as its characters; the two neighbours whose merge has the smallest rank become one token, the leftmost
// first, until no pair merges. Immutable except for a locked cache of short pieces; any thread may call.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"
#include "trainer/data/tokenizer/merge_table.h"
#include "trainer/data/tokenizer/piece_model.h"

namespace regroup {

class BpeModel : public PieceModel {
 public:
  /// Reads vocab, merges, unk_token, fuse_unk, byte_fallback, ignore_merges. UNIMPLEMENTED for dropout and affixes;
  /// INVALID_ARGUMENT for a merge whose tokens are not in the vocabulary.
  static absl::StatusOr<std::unique_ptr<BpeModel>> Parse(const nlohmann::json& json);

  /// A character without a token becomes the tokens of its bytes (byte_fallback), else the unknown token, else nothing.
  absl::Status Encode(std::string_view piece, std::vector<int32_t>& ids) const override;

 private:
  BpeModel() = default;
  absl::Status ParseMerges(const nlohmann::json& merges);
  std::vector<int32_t> EncodeUncached(std::string_view piece) const;
  std::vector<int32_t> StartTokens(std::string_view piece) const;

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  /// A part of the cache with its own lock, so that threads rarely wait for each other.
  struct CachePart {
    std::mutex mutex;
    std::unordered_map<std::string, std::vector<int32_t>, Hash, std::equal_to<>> ids_by_piece;
  };

  MergeTable merges_;
  std::optional<int32_t> unknown_;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
  /// See ByteTokensOf; empty without byte_fallback.
  std::vector<int32_t> byte_tokens_;
  mutable std::array<CachePart, 16> cache_;
};

}  // namespace regroup
