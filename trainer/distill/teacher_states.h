// Stores the teacher's final hidden states on disk: written when a window is first read, and read in later passes over
// the data.
//
// The teacher never changes, and the loss needs only these states: the output projection is computed again, so that
// training with and without the file gives the same numbers. Each window's record has a digest of its content, so ranks
// and attempts can share one file without locks: a record that is missing, partially written, corrupt or not yet
// visible on this node is recomputed. One thread per process.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace regroup {

class TeacherStates {
 public:
  struct Layout {
    /// Number of positions with a prediction, and the teacher's hidden size.
    int64_t positions = 0;
    int64_t hidden_size = 0;
    at::ScalarType dtype = at::kFloat;
    /// Everything else that the states depend on. It is part of the file's name, so that other settings use another
    /// file.
    std::string fingerprint;
  };

  /// Opens or creates the file in `folder`. Returns file system errors.
  static absl::StatusOr<TeacherStates> Open(const std::filesystem::path& folder, const Layout& layout);
  TeacherStates(TeacherStates&& other) noexcept;
  TeacherStates& operator=(TeacherStates&& other) noexcept;
  ~TeacherStates();

  /// Returns [positions, hidden_size] of a window on the CPU: from the file, or from `compute`, whose result is
  /// written. A full disk is an error, because every later pass would otherwise be slow without a visible reason.
  absl::StatusOr<at::Tensor> Get(int64_t window, const std::function<at::Tensor()>& compute);

  /// Returns how often Get found a window in the file.
  int64_t hits() const { return hits_; }
  int64_t RecordBytes() const;

 private:
  TeacherStates(std::filesystem::path path, int file, Layout layout);
  bool Read(int64_t window, at::Tensor& states) const;
  absl::Status Write(int64_t window, const at::Tensor& states) const;

  std::filesystem::path path_;
  int file_ = -1;
  Layout layout_;
  int64_t hits_ = 0;
};

}  // namespace regroup
