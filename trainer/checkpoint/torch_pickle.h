// Reads the pickle in which torch.save describes tensors, without running any code. Does not use libtorch, so that it
// can be fuzzed alone.
//
// A pickle is a program for a stack machine that can call any function of Python. This reader knows the opcodes that
// torch.save writes and a list of names: the dictionaries, the functions that rebuild plain tensors, and the types of
// storages and elements. Every other opcode or name is an error. Objects are kept in a list and refer to one another
// by position, so neither nesting nor cycles cost stack or leak. Functions are pure and may be called from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/safetensors_header.h"

namespace regroup {

/// A view of a storage, which lies elsewhere in the archive. Several tensors may share a storage.
struct PickledTensor {
  std::string name;
  SafetensorsDtype dtype = SafetensorsDtype::kF32;
  std::vector<int64_t> shape;
  /// Distance of neighbours along each axis, in elements; never negative.
  std::vector<int64_t> strides;
  /// Position of the first element, in elements.
  int64_t offset = 0;
  /// Name of the storage, and its size in bytes.
  std::string storage;
  int64_t storage_bytes = 0;
};

/// Larger pickles are rejected: one describes tensors, it does not hold them.
inline constexpr uint64_t kMaxPickleBytes = uint64_t{64} << 20;

/// Returns the tensors of a state dictionary, ordered by name; its other values are left out. Every tensor lies within
/// its storage. `file` is its name for errors. DATA_LOSS for a pickle that is malformed, that needs a name or an opcode
/// beyond those above, or that is not a dictionary of tensors.
absl::StatusOr<std::vector<PickledTensor>> ReadTorchPickle(std::string_view pickle, std::string_view file);

}  // namespace regroup
