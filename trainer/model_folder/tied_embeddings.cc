#include "trainer/model_folder/tied_embeddings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

absl::StatusOr<bool> SameBytes(const CheckpointFolder& folder, std::string_view first, std::string_view second) {
  REGROUP_ASSIGN_OR_RETURN(const at::Tensor a, folder.Tensor(first));
  REGROUP_ASSIGN_OR_RETURN(const at::Tensor b, folder.Tensor(second));
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  return std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

absl::Status CheckCopies(const CheckpointFolder& folder, const EmbeddingNames& names, std::string_view embedding) {
  for (const std::string& copy : names.copies) {
    if (names.needs_copies && !names.tied && !folder.Has(copy)) {
      return absl::InvalidArgumentError(fmt::format(
          "{}: tensor '{}' is missing, and tie_word_embeddings is false, which also separates the embeddings "
          "of encoder and decoder; write tie_word_embeddings: true if all are one",
          folder.path().string(), copy));
    }
    if (copy == embedding || !folder.Has(copy) || !folder.Has(embedding)) continue;
    REGROUP_ASSIGN_OR_RETURN(const bool same, SameBytes(folder, embedding, copy));
    if (same) continue;
    return absl::InvalidArgumentError(
        fmt::format("{}: tensor '{}' differs from '{}', but only one embedding for all stacks is supported",
                    folder.path().string(), copy, embedding));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<EmbeddingTensors> FindEmbeddings(const CheckpointFolder& folder, const EmbeddingNames& names) {
  EmbeddingTensors found{.embedding = names.embedding, .head = names.head, .tied = names.tied};
  const auto stored = [&](std::string_view name) { return folder.Has(name); };
  if (!names.tied) {
    REGROUP_RETURN_IF_ERROR(CheckCopies(folder, names, found.embedding));
    return found;
  }
  if (!stored(found.embedding)) {
    const auto copy = std::ranges::find_if(names.copies, stored);
    if (copy != names.copies.end()) found.embedding = *copy;
  }
  REGROUP_RETURN_IF_ERROR(CheckCopies(folder, names, found.embedding));
  if (!stored(found.head)) return found;
  if (!stored(found.embedding)) {
    found.note = fmt::format("'{}' is not stored and tied to '{}'", found.embedding, found.head);
    found.embedding = found.head;
    return found;
  }
  REGROUP_ASSIGN_OR_RETURN(found.tied, SameBytes(folder, found.embedding, found.head));
  found.note = found.tied ? fmt::format("'{}' equals '{}': the two are tied", found.head, found.embedding)
                          : fmt::format(
                                "'{}' differs from '{}': the two are not tied, although config.json says so, and "
                                "the result's config.json will have tie_word_embeddings: false",
                                found.head, found.embedding);
  return found;
}

}  // namespace regroup
