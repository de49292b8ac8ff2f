// Attention within sequences of different lengths by the flash kernel that libtorch has for GPUs (Dao, 2023), instead
// of a dense mask of [B, T, T].
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace regroup {

/// The sequences of a batch [B, T], in whose order their tokens lie; a token attends to itself and to earlier tokens of
/// its sequence.
struct SequenceLayout {
  /// Index of each sequence's first token in the flattened batch, and at the end B T, int32 on the device. Undefined if
  /// each row of the batch is one sequence.
  at::Tensor starts;
  /// Tokens of the longest one.
  int64_t longest = 0;
  /// A token sees this many tokens, including itself; 0 for all earlier ones.
  int64_t window = 0;
};

/// Returns the layout of documents, int64 [B, T] on the CPU, whose tokens are consecutive in each row. The host waits
/// for the copy of the starts to a GPU, which is one short copy for each batch.
SequenceLayout LayoutOfDocuments(const at::Tensor& documents_BT, int64_t window, at::Device device);

/// Returns true if the kernel takes heads of this width and type on the device, and computes there what a dense mask
/// gives. The first call for a width and type tries it and logs the answer; later ones are free. Throws what the trial
/// throws for lack of memory. Any thread.
bool CanAttendSequences(at::Device device, at::ScalarType dtype, int64_t head_width);

/// Makes CanAttendSequences false from now on, for the ranks of a gang of which one cannot.
void AttendByMasksOnly();

/// Returns the attention of query [B, H, T, d] over key and value [B, G, T, d], [B, H, T, d]; query head j reads KV
/// head j / (H / G). Differentiable. Only where CanAttendSequences is true.
at::Tensor AttendSequences(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                           const SequenceLayout& layout, double scale);

}  // namespace regroup
