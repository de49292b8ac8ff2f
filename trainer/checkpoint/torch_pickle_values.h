// The objects that a pickle of torch.save builds (torch_pickle.h), and what its functions make of them. Internal to the
// reader of pickles.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/torch_pickle.h"

namespace regroup::pickle {

/// Position of an object in Objects.
using Ref = uint32_t;

/// None or a floating-point number: tensors do not depend on them.
struct Other {};
struct Boolean {};
/// A function or a type, such as "collections.OrderedDict".
struct Global {
  std::string name;
};
/// A tuple or a list.
struct Sequence {
  std::vector<Ref> items;
  bool is_list = false;
};
struct Dictionary {
  std::vector<std::pair<Ref, Ref>> items;
};
struct Storage {
  std::string key;
  /// Absent for a storage of bytes, whose tensors name their element type.
  std::optional<SafetensorsDtype> dtype;
  int64_t bytes = 0;
};
struct Tensor {
  PickledTensor tensor;
};

using Object = std::variant<Other, Boolean, int64_t, std::string, Global, Sequence, Dictionary, Storage, Tensor>;

/// More objects, items or values on the stack than the largest models need.
inline constexpr size_t kMaxObjects = size_t{1} << 22;

/// Returns the end of a sentence that begins with the file's name.
absl::Status Malformed(std::string_view what);

/// Owns all objects of one pickle. Errors are ends of a sentence that begins with the file's name.
class Objects {
 public:
  /// DATA_LOSS if there are kMaxObjects already.
  absl::StatusOr<Ref> Add(Object object);
  Object& at(Ref ref) { return objects_[ref]; }

  template <typename Kind>
  Kind* As(Ref ref) {
    return std::get_if<Kind>(&objects_[ref]);
  }

  /// Fails for a key that Python cannot use as one.
  absl::Status SetItem(Dictionary& dictionary, Ref key, Ref value);
  /// Calls a function of the list with a tuple of arguments.
  absl::StatusOr<Ref> Call(Ref function, Ref arguments);
  /// Returns the storage that a persistent id names: ("storage", type, key, device, number of elements).
  absl::StatusOr<Ref> StorageOf(Ref id);

 private:
  absl::StatusOr<Ref> MakeDictionary(const std::vector<Ref>& arguments);
  absl::StatusOr<Ref> MakeTensor(const std::vector<Ref>& arguments, bool names_dtype);
  absl::StatusOr<Ref> CallByName(const std::string& name, const std::vector<Ref>& arguments);
  std::optional<std::vector<int64_t>> Integers(Ref ref);
  /// Checks that the arguments from `first` on say whether there are gradients, and name the hooks.
  bool EndsWithGradients(const std::vector<Ref>& arguments, size_t first);
  /// Checks that the tensor has no metadata, which would say that its numbers are not those of the storage.
  absl::Status CheckMetadata(const std::vector<Ref>& arguments, size_t position);

  std::deque<Object> objects_;
  /// Number of items in dictionaries that were made of lists. Such a call copies a list of any length, and a pickle can
  /// repeat it in a few bytes.
  size_t copied_items_ = 0;
};

/// Returns the tensors of a state dictionary, ordered by name, without its other values.
absl::StatusOr<std::vector<PickledTensor>> TensorsOf(Objects& objects, Ref dictionary);

/// Returns true if the name is on the list.
bool IsKnownGlobal(std::string_view name);

}  // namespace regroup::pickle
