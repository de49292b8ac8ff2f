#include "trainer/data/tokenizer/unigram_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include <nlohmann/json.hpp>

#include "services/common/base/bounded_json.h"
#include "services/common/base/status_macros.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup {
namespace {

absl::Status CheckSupported(const nlohmann::json& json) {
  for (const char* key : {"alpha", "nbest_size"}) {
    const auto found = json.find(key);
    if (found == json.end() || found->is_null() || *found == 0) continue;
    return absl::UnimplementedError(
        fmt::format("model: \"{}\" makes the tokens random, which is not supported; remove the key", key));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<UnigramModel>> UnigramModel::Parse(const nlohmann::json& json) {
  REGROUP_RETURN_IF_ERROR(CheckSupported(json));
  std::unique_ptr<UnigramModel> model(new UnigramModel());
  REGROUP_RETURN_IF_ERROR(model->ParseVocabulary(json.at("vocab")));
  const auto unknown = json.find("unk_id");
  if (unknown != json.end() && !unknown->is_null()) {
    model->unknown_ = IntegerIn<int32_t>(*unknown).value_or(-1);
    if (model->vocabulary_.TokenOf(*model->unknown_) == nullptr) {
      return absl::InvalidArgumentError(fmt::format("model: unk_id {} is not in the vocabulary", unknown->dump()));
    }
  }
  if (json.value("byte_fallback", false)) model->byte_tokens_ = ByteTokensOf(model->vocabulary_);
  return model;
}

absl::Status UnigramModel::ParseVocabulary(const nlohmann::json& vocab) {
  constexpr double kUnknownPenalty = 10;
  double smallest = std::numeric_limits<double>::infinity();
  for (const nlohmann::json& entry : vocab) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      return absl::InvalidArgumentError(
          fmt::format("model: entry {} of vocab is not a token and its score", vocabulary_.end_id()));
    }
    const auto id = static_cast<int32_t>(vocabulary_.end_id());
    REGROUP_RETURN_IF_ERROR(vocabulary_.Add(entry[0].get_ref<const std::string&>(), id));
    const double score = entry[1];
    smallest = std::min(smallest, score);
    entries_.push_back({*vocabulary_.TokenOf(id), id, score});
  }
  if (entries_.empty()) return absl::InvalidArgumentError("model: vocab is empty");
  unknown_score_ = smallest - kUnknownPenalty;
  std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.text < b.text; });
  return absl::OkStatus();
}

absl::StatusOr<std::vector<UnigramModel::Step>> UnigramModel::BestSteps(std::string_view piece) const {
  std::vector<Step> steps(piece.size() + 1);
  const auto offer = [&steps](size_t end, const Step& step) {
    if (steps[end].begin < 0 || step.score > steps[end].score) steps[end] = step;
  };
  for (size_t begin = 0; begin < piece.size();) {
    const size_t character_end = begin + CharacterBytes(piece[begin]);
    const double score = steps[begin].score;
    bool character_has_token = false;
    auto first = entries_.begin(), last = entries_.end();
    for (size_t end = begin; end < piece.size() && first != last; ++end) {
      const size_t depth = end - begin;
      // The entries that end here come first among those that agree so far.
      if (first->text.size() == depth) ++first;
      const auto byte_of = [depth](const Entry& entry) { return static_cast<unsigned char>(entry.text[depth]); };
      const auto byte = static_cast<unsigned char>(piece[end]);
      first =
          std::lower_bound(first, last, byte, [&](const Entry& entry, unsigned char b) { return byte_of(entry) < b; });
      last =
          std::upper_bound(first, last, byte, [&](unsigned char b, const Entry& entry) { return b < byte_of(entry); });
      if (first == last || first->text.size() != depth + 1) continue;
      offer(end + 1, {static_cast<int64_t>(begin), first->id, score + first->score});
      character_has_token = character_has_token || end + 1 == character_end;
    }
    if (!character_has_token) {
      if (!unknown_) {
        return absl::InvalidArgumentError(fmt::format("model: \"{}\" has no token, and the model has no unk_id",
                                                      piece.substr(begin, character_end - begin)));
      }
      offer(character_end, {static_cast<int64_t>(begin), *unknown_, score + unknown_score_});
    }
    begin = character_end;
  }
  return steps;
}

absl::Status UnigramModel::Encode(std::string_view piece, std::vector<int32_t>& ids) const {
  REGROUP_ASSIGN_OR_RETURN(const std::vector<Step> steps, BestSteps(piece));
  // The texts of the tokens from the last to the first; adjacent unknown ones are one text.
  std::vector<std::string_view> texts;
  bool previous_is_unknown = false;
  for (size_t end = piece.size(); end > 0;) {
    const Step& step = steps[end];
    const auto begin = static_cast<size_t>(step.begin);
    const bool is_unknown = unknown_ && step.id == *unknown_;
    if (is_unknown && previous_is_unknown) {
      texts.back() = piece.substr(begin, end - begin + texts.back().size());
    } else {
      texts.push_back(piece.substr(begin, end - begin));
    }
    previous_is_unknown = is_unknown;
    end = begin;
  }
  for (auto text = texts.rbegin(); text != texts.rend(); ++text) AppendText(*text, ids);
  return absl::OkStatus();
}

void UnigramModel::AppendText(std::string_view text, std::vector<int32_t>& ids) const {
  if (const std::optional<int32_t> id = vocabulary_.IdOf(text)) {
    ids.push_back(*id);
  } else if (!AppendByteTokens(text, byte_tokens_, ids)) {
    ids.push_back(*unknown_);
  }
}

}  // namespace regroup
