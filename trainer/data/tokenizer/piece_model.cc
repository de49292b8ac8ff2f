#include "trainer/data/tokenizer/piece_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include <nlohmann/json.hpp>

#include "services/common/base/status_macros.h"
#include "trainer/data/tokenizer/bpe_model.h"
#include "trainer/data/tokenizer/unigram_model.h"

namespace regroup {
namespace {

/// Returns the model's type, which files of older releases leave out.
std::string TypeOf(const nlohmann::json& json) {
  if (json.contains("type")) return json.at("type");
  if (json.contains("merges")) return "BPE";
  return json.at("vocab").is_array() ? "Unigram" : "WordPiece";
}

}  // namespace

absl::StatusOr<std::unique_ptr<PieceModel>> ParsePieceModel(const nlohmann::json& json) {
  const std::string type = TypeOf(json);
  if (type == "BPE") return BpeModel::Parse(json);
  if (type == "Unigram") return UnigramModel::Parse(json);
  return absl::UnimplementedError(fmt::format(
      "model \"{}\" is not supported; BPE and Unigram are: use a checkpoint whose tokenizer has one of them", type));
}

std::vector<int32_t> ByteTokensOf(const Vocabulary& vocabulary) {
  std::vector<int32_t> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(vocabulary.IdOf(fmt::format("<0x{:02X}>", byte)).value_or(-1));
  }
  return tokens;
}

bool AppendByteTokens(std::string_view text, const std::vector<int32_t>& byte_tokens, std::vector<int32_t>& ids) {
  if (byte_tokens.empty()) return false;
  const auto token_of = [&](char byte) { return byte_tokens[static_cast<unsigned char>(byte)]; };
  if (std::any_of(text.begin(), text.end(), [&](char byte) { return token_of(byte) < 0; })) return false;
  std::transform(text.begin(), text.end(), std::back_inserter(ids), token_of);
  return true;
}

}  // namespace regroup
