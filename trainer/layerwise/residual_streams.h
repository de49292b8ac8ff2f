// Keeps the residual streams of many windows at one border between layers, in memory-mapped files.
//
// A stream is [windows, tokens, hidden size] in bfloat16, 2 bytes x hidden size for each token. Between two layers it
// is always rounded to that type, so that a stream is the same whether it was read at a border or computed up to there.
// One thread at a time may write.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <vector>

#include "absl/status/statusor.h"

namespace regroup {

struct StreamShape {
  int64_t windows = 0;
  int64_t tokens = 0;
  int64_t hidden_size = 0;

  int64_t Bytes() const { return 2 * windows * tokens * hidden_size; }
};

class ResidualStreams {
 public:
  /// Creates a file and reserves its blocks. RESOURCE_EXHAUSTED if the disk is too small.
  static absl::StatusOr<ResidualStreams> Create(const std::filesystem::path& file, const StreamShape& shape);
  /// Opens files to read: window w is in file w % n, at row w / n. `shape` is that of all files together. NOT_FOUND for
  /// a missing file, DATA_LOSS for one of another size.
  static absl::StatusOr<ResidualStreams> Open(const std::vector<std::filesystem::path>& files,
                                              const StreamShape& shape);

  const StreamShape& shape() const { return shape_; }
  /// Returns the streams of these windows, [windows, tokens, hidden size].
  at::Tensor Read(const std::vector<int64_t>& windows, at::ScalarType dtype, at::Device device) const;
  /// Writes [windows, tokens, hidden size], rounded.
  void Write(const std::vector<int64_t>& windows, const at::Tensor& streams);

 private:
  ResidualStreams(std::vector<at::Tensor> parts, const StreamShape& shape) : parts_(std::move(parts)), shape_(shape) {}
  at::Tensor Row(int64_t window) const;

  /// [rows, tokens, hidden size] of each file.
  std::vector<at::Tensor> parts_;
  StreamShape shape_;
};

/// Returns the number of windows in file `part` of `parts`.
int64_t WindowsInPart(int64_t windows, int64_t part, int64_t parts);

}  // namespace regroup
