// Implements the unigram language model (Kudo, 2018): the "model" of tokenizer.json with type Unigram.
//
// Each token has a score, its logarithmic probability. A piece becomes the sequence of tokens with the largest sum,
// which the Viterbi algorithm finds. Immutable; any thread may call.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/data/tokenizer/piece_model.h"

namespace regroup {

class UnigramModel : public PieceModel {
 public:
  /// Reads vocab, unk_id and byte_fallback. UNIMPLEMENTED for random sampling (alpha, nbest_size); INVALID_ARGUMENT for
  /// a malformed vocabulary.
  static absl::StatusOr<std::unique_ptr<UnigramModel>> Parse(const nlohmann::json& json);

  /// Characters without a token become the tokens of their bytes (byte_fallback), else one unknown token for each run
  /// of them. INVALID_ARGUMENT if the model has no unknown token.
  absl::Status Encode(std::string_view piece, std::vector<int32_t>& ids) const override;

 private:
  /// A token's text, id and score. The text is a key of the vocabulary.
  struct Entry {
    std::string_view text;
    int32_t id = 0;
    double score = 0;
  };
  /// The best way to reach a byte of the piece: by a token that begins at byte `begin`; -1 if none is known yet.
  struct Step {
    int64_t begin = -1;
    int32_t id = 0;
    double score = 0;
  };

  UnigramModel() = default;
  absl::Status ParseVocabulary(const nlohmann::json& vocab);
  absl::StatusOr<std::vector<Step>> BestSteps(std::string_view piece) const;
  void AppendText(std::string_view text, std::vector<int32_t>& ids) const;

  /// Sorted by text, so that all tokens that begin a text are found by narrowing a range byte by byte.
  std::vector<Entry> entries_;
  std::optional<int32_t> unknown_;
  double unknown_score_ = 0;
  /// See ByteTokensOf; empty without byte_fallback.
  std::vector<int32_t> byte_tokens_;
};

}  // namespace regroup
