// Keeps the residual streams of many windows at one border between layers, in files.
//
// A stream is [windows, tokens, hidden size] in bfloat16, 2 bytes x hidden size for each token. Between two layers it
// is always rounded to that type, so that a stream is the same whether it was read at a border or computed up to there.
// The files are read and written in pieces, so that they take no memory. One thread at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <utility>
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
  /// Returns the streams of these windows, [windows, tokens, hidden size]. Returns errors of the disk, and DATA_LOSS
  /// for a file that has become shorter.
  absl::StatusOr<at::Tensor> Read(const std::vector<int64_t>& windows, at::ScalarType dtype, at::Device device) const;
  /// Writes [windows, tokens, hidden size], rounded.
  absl::Status Write(const std::vector<int64_t>& windows, const at::Tensor& streams);

 private:
  /// An open file.
  class Part;
  ResidualStreams(std::vector<std::shared_ptr<const Part>> parts, const StreamShape& shape)
      : parts_(std::move(parts)), shape_(shape) {}
  const Part& PartOf(int64_t window) const;
  /// Returns the place of the window in its file, in bytes.
  int64_t OffsetOf(int64_t window) const;
  int64_t RowBytes() const { return 2 * shape_.tokens * shape_.hidden_size; }

  std::vector<std::shared_ptr<const Part>> parts_;
  StreamShape shape_;
};

/// Returns the number of windows in file `part` of `parts`.
int64_t WindowsInPart(int64_t windows, int64_t part, int64_t parts);

}  // namespace regroup
