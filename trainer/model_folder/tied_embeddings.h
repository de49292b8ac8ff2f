// Decides which tensors of a folder are the embedding and the output head. A pure function of folder and names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/checkpoint_folder.h"

namespace regroup {

/// The names under which a family stores embedding and output head.
struct EmbeddingNames {
  std::string embedding;
  std::string head;
  /// Further names of the embedding, see Family::embedding_copies, with which the folder may store it.
  std::vector<std::string> copies;
  /// config.json says that the two are one tensor.
  bool tied = false;
  /// See Family::copies_where_untied.
  bool needs_copies = false;
};

/// The tensors to read. If `tied`, there is no separate output head.
struct EmbeddingTensors {
  std::string embedding;
  std::string head;
  bool tied = false;
  /// Says what was decided; empty if the folder holds what config.json announces.
  std::string note;
};

/// Decides as Transformers 5 does. Where config.json ties the two, a head that is absent or has the embedding's bytes
/// is tied, another head is used as it is, and an embedding that is absent is read from the head. Where config.json
/// does not tie them, nothing is decided. Reads the bytes of both only if both are there. INVALID_ARGUMENT names a copy
/// of the embedding that differs from it, or that is needed and absent.
absl::StatusOr<EmbeddingTensors> FindEmbeddings(const CheckpointFolder& folder, const EmbeddingNames& names);

}  // namespace regroup
