#include "trainer/data/tokenizer/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include <utility>

namespace regroup {
namespace {

std::optional<int32_t> IdOrNothing(int id) {
  if (id < 0) return std::nullopt;
  return id;
}

}  // namespace

struct SentencePieceModel::Library {
  sentencepiece::SentencePieceProcessor processor;
};

SentencePieceModel::SentencePieceModel(std::unique_ptr<Library> library) : library_(std::move(library)) {}
SentencePieceModel::~SentencePieceModel() = default;

std::unique_ptr<SentencePieceModel> SentencePieceModel::Parse(std::string_view content, std::string& error) {
  auto library = std::make_unique<Library>();
  const sentencepiece::util::Status status = library->processor.LoadFromSerializedProto(content);
  if (!status.ok()) {
    error = status.ToString();
    return nullptr;
  }
  return std::unique_ptr<SentencePieceModel>(new SentencePieceModel(std::move(library)));
}

std::vector<int32_t> SentencePieceModel::Encode(std::string_view text) const {
  return library_->processor.EncodeAsIds(text);
}

std::string SentencePieceModel::Decode(std::span<const int32_t> ids) const {
  return library_->processor.DecodeIds(std::vector<int>(ids.begin(), ids.end()));
}

int64_t SentencePieceModel::size() const { return library_->processor.GetPieceSize(); }
std::optional<int32_t> SentencePieceModel::bos_id() const { return IdOrNothing(library_->processor.bos_id()); }
std::optional<int32_t> SentencePieceModel::eos_id() const { return IdOrNothing(library_->processor.eos_id()); }
std::optional<int32_t> SentencePieceModel::unknown_id() const { return IdOrNothing(library_->processor.unk_id()); }
std::string SentencePieceModel::PieceOf(int32_t id) const { return library_->processor.IdToPiece(id); }

std::optional<int32_t> SentencePieceModel::IdOf(std::string_view piece) const {
  // The library answers with the unknown piece's id for a piece that it lacks.
  const int id = library_->processor.PieceToId(piece);
  if (id < 0 || id >= size() || PieceOf(id) != piece) return std::nullopt;
  return id;
}

}  // namespace regroup
