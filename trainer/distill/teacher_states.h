// The teacher's final hidden states on disk: written when a window is first read, read in later passes over the data.
//
// The teacher never changes, and of all it computes the loss needs these alone: the output projection is done again, so
// that training with and without the file has the same numbers. Each window's record carries a digest of its content,
// hence ranks and attempts may share one file without locks: a record that is missing, half written, damaged or not yet
// seen by this node is computed again. One thread of each process.
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
    /// Positions with a prediction, and the teacher's hidden size.
    int64_t positions = 0;
    int64_t hidden_size = 0;
    at::ScalarType dtype = at::kFloat;
    /// What else the states depend on; part of the file's name, so that other settings have a file of their own.
    std::string fingerprint;
  };

  /// Opens or makes the file in `folder`. Errors: those of the file system.
  static absl::StatusOr<TeacherStates> Open(const std::filesystem::path& folder, const Layout& layout);
  TeacherStates(TeacherStates&& other) noexcept;
  TeacherStates& operator=(TeacherStates&& other) noexcept;
  ~TeacherStates();

  /// [positions, hidden_size] of a window on the CPU: from the file, or from `compute`, whose result is written. A full
  /// disk is an error, since every later pass would be slow for a reason nobody sees.
  absl::StatusOr<at::Tensor> Get(int64_t window, const std::function<at::Tensor()>& compute);

  /// How often Get found a window in the file.
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
