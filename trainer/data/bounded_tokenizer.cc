#include "trainer/data/bounded_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "services/common/base/status_macros.h"
#include "trainer/data/json_lines_reader.h"

namespace regroup {
namespace {

constexpr std::string_view kRemedy = "the embedding (resize_token_embeddings in Transformers)";

std::string NameOf(const Tokenizer& tokenizer, int32_t id) {
  const auto text = tokenizer.Decode(std::vector<int32_t>{id});
  return text.ok() ? fmt::format("token \"{}\" has id {}", *text, id) : fmt::format("a token has id {}", id);
}

std::optional<int32_t> FirstBeyond(const std::vector<int32_t>& ids, int64_t vocabulary) {
  const auto beyond = std::find_if(ids.begin(), ids.end(), [vocabulary](int32_t id) { return id >= vocabulary; });
  if (beyond == ids.end()) return std::nullopt;
  return *beyond;
}

class BoundedTokenizer final : public Tokenizer {
 public:
  BoundedTokenizer(std::shared_ptr<const Tokenizer> tokenizer, int64_t vocabulary, absl::StatusOr<ChatTemplate> chat)
      : tokenizer_(std::move(tokenizer)), vocabulary_(vocabulary), chat_(std::move(chat)) {}

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const override {
    return Bounded(tokenizer_->Encode(text));
  }
  absl::StatusOr<std::vector<int32_t>> EncodeOrdinary(std::string_view text) const override {
    return Bounded(tokenizer_->EncodeOrdinary(text));
  }
  absl::StatusOr<std::string> Decode(std::span<const int32_t> ids) const override { return tokenizer_->Decode(ids); }
  absl::StatusOr<std::string> Render(const Conversation& conversation) const override {
    REGROUP_RETURN_IF_ERROR(chat_.status());
    return chat_->Render(conversation, kMaxLineBytes);
  }
  std::optional<int32_t> bos_id() const override { return tokenizer_->bos_id(); }
  std::optional<int32_t> eos_id() const override { return tokenizer_->eos_id(); }
  int64_t vocabulary_size() const override { return tokenizer_->vocabulary_size(); }

 private:
  absl::StatusOr<std::vector<int32_t>> Bounded(absl::StatusOr<std::vector<int32_t>> ids) const {
    const std::optional<int32_t> beyond = ids.ok() ? FirstBeyond(*ids, vocabulary_) : std::nullopt;
    if (!beyond) return ids;
    return absl::DataLossError(fmt::format("{}, but the model has vocab_size {}; remove it from the text, or resize {}",
                                           NameOf(*tokenizer_, *beyond), vocabulary_, kRemedy));
  }

  std::shared_ptr<const Tokenizer> tokenizer_;
  int64_t vocabulary_;
  absl::StatusOr<ChatTemplate> chat_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const Tokenizer>> BoundTokenizer(std::shared_ptr<const Tokenizer> tokenizer,
                                                                int64_t vocabulary, absl::StatusOr<ChatTemplate> chat) {
  REGROUP_ASSIGN_OR_RETURN(std::vector<int32_t> always, tokenizer->Encode(""));
  if (tokenizer->eos_id()) always.push_back(*tokenizer->eos_id());
  if (const std::optional<int32_t> beyond = FirstBeyond(always, vocabulary)) {
    return absl::InvalidArgumentError(
        fmt::format("every text gets a token that the model does not have: {}, but the model has vocab_size {}; name "
                    "another token in tokenizer_config.json, or resize {}",
                    NameOf(*tokenizer, *beyond), vocabulary, kRemedy));
  }
  return std::make_shared<BoundedTokenizer>(std::move(tokenizer), vocabulary, std::move(chat));
}

absl::StatusOr<std::shared_ptr<const Tokenizer>> LoadBoundedTokenizer(const std::filesystem::path& folder,
                                                                      int64_t vocabulary,
                                                                      const std::filesystem::path& original) {
  REGROUP_ASSIGN_OR_RETURN(std::shared_ptr<const Tokenizer> tokenizer, LoadTokenizer(folder, original));
  auto bounded = BoundTokenizer(std::move(tokenizer), vocabulary, ChatTemplate::Load(folder, original));
  if (bounded.ok()) return bounded;
  return absl::Status(bounded.status().code(),
                      fmt::format("{}: {}", folder.string(), std::string(bounded.status().message())));
}

std::string NoteOnTokensBeyond(const Tokenizer& tokenizer, int64_t vocabulary) {
  const int64_t count = tokenizer.vocabulary_size() - vocabulary;
  if (count <= 0) return "";
  return fmt::format(
      "the tokenizer has {} token{} more than the model's vocab_size of {}: {}; a job whose text contains such a token "
      "is refused",
      count, count == 1 ? "" : "s", vocabulary, NameOf(tokenizer, static_cast<int32_t>(vocabulary)));
}

}  // namespace regroup
