// The module libregroup_sentencepiece.so: implements SentencePieceModel with the sentencepiece library.
#include <sentencepiece_processor.h>

#include "trainer/data/tokenizer/sentencepiece_model.h"

namespace regroup {
namespace {

std::optional<int32_t> IdOrNothing(int id) {
  if (id < 0) return std::nullopt;
  return id;
}

class LibraryModel final : public SentencePieceModel {
 public:
  sentencepiece::SentencePieceProcessor processor;

  std::vector<int32_t> Encode(std::string_view text) const override { return processor.EncodeAsIds(text); }
  std::string Decode(std::span<const int32_t> ids) const override {
    return processor.DecodeIds(std::vector<int>(ids.begin(), ids.end()));
  }
  int64_t size() const override { return processor.GetPieceSize(); }
  std::optional<int32_t> bos_id() const override { return IdOrNothing(processor.bos_id()); }
  std::optional<int32_t> eos_id() const override { return IdOrNothing(processor.eos_id()); }
  std::optional<int32_t> unknown_id() const override { return IdOrNothing(processor.unk_id()); }
  std::string PieceOf(int32_t id) const override { return processor.IdToPiece(id); }
  std::optional<int32_t> IdOf(std::string_view piece) const override {
    // The library returns the unknown piece's id for a piece that it does not have.
    const int id = processor.PieceToId(piece);
    if (id < 0 || id >= size() || PieceOf(id) != piece) return std::nullopt;
    return id;
  }
};

}  // namespace
}  // namespace regroup

extern "C" regroup::SentencePieceModel* RegroupParseSentencePiece(std::string_view content, std::string& error) {
  auto model = std::make_unique<regroup::LibraryModel>();
  const sentencepiece::util::Status status = model->processor.LoadFromSerializedProto(content);
  if (status.ok()) return model.release();
  error = status.ToString();
  return nullptr;
}
