#include "trainer/checkpoint/torch_pickle_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>

#include "services/common/base/status_macros.h"
#include "trainer/checkpoint/safetensors_header_parser.h"

namespace regroup::pickle {
namespace {

constexpr size_t kMaxDimensions = 64;
/// torch.save numbers storages. Every tensor gets a copy of the name.
constexpr size_t kMaxKeyBytes = 64;

struct TypeName {
  std::string_view storage;
  std::string_view dtype;
  SafetensorsDtype kind;
};

/// Types of storages, and of elements where the storage holds bytes. Newer element types have no storage of their own.
constexpr std::array<TypeName, 17> kTypes = {{
    {"torch.BoolStorage", "torch.bool", SafetensorsDtype::kBool},
    {"torch.ByteStorage", "torch.uint8", SafetensorsDtype::kU8},
    {"torch.CharStorage", "torch.int8", SafetensorsDtype::kI8},
    {"torch.ShortStorage", "torch.int16", SafetensorsDtype::kI16},
    {"torch.IntStorage", "torch.int32", SafetensorsDtype::kI32},
    {"torch.LongStorage", "torch.int64", SafetensorsDtype::kI64},
    {"torch.HalfStorage", "torch.float16", SafetensorsDtype::kF16},
    {"torch.BFloat16Storage", "torch.bfloat16", SafetensorsDtype::kBF16},
    {"torch.FloatStorage", "torch.float32", SafetensorsDtype::kF32},
    {"torch.DoubleStorage", "torch.float64", SafetensorsDtype::kF64},
    {"torch.ComplexFloatStorage", "torch.complex64", SafetensorsDtype::kC64},
    {"", "torch.uint16", SafetensorsDtype::kU16},
    {"", "torch.uint32", SafetensorsDtype::kU32},
    {"", "torch.uint64", SafetensorsDtype::kU64},
    {"", "torch.float8_e4m3fn", SafetensorsDtype::kF8E4M3},
    {"", "torch.float8_e5m2", SafetensorsDtype::kF8E5M2},
    {"", "torch.float8_e8m0fnu", SafetensorsDtype::kF8E8M0},
}};

constexpr std::string_view kBytes = "torch.storage.UntypedStorage";

/// Functions that return a plain tensor or parameter.
constexpr std::string_view kTensor = "torch._utils._rebuild_tensor";
constexpr std::string_view kTensor2 = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kTensor3 = "torch._utils._rebuild_tensor_v3";
constexpr std::string_view kParameter = "torch._utils._rebuild_parameter";
constexpr std::string_view kParameterWithState = "torch._utils._rebuild_parameter_with_state";
constexpr std::string_view kFromType = "torch._tensor._rebuild_from_type_v2";
constexpr std::string_view kDictionary = "collections.OrderedDict";
constexpr std::string_view kSize = "torch.Size";
constexpr std::array<std::string_view, 8> kFunctions = {
    kTensor, kTensor2, kTensor3, kParameter, kParameterWithState, kFromType, kDictionary, kSize};
/// Types that kFromType may name.
constexpr std::array<std::string_view, 2> kClasses = {"torch.Tensor", "torch.nn.parameter.Parameter"};

struct ArgumentCount {
  size_t least;
  size_t most;
};

/// Returns how many values a function takes, as torch and Python declare it.
ArgumentCount ArgumentsOf(std::string_view function) {
  if (function == kTensor || function == kParameterWithState) return {4, 4};
  if (function == kTensor2) return {6, 7};
  if (function == kTensor3) return {7, 8};
  if (function == kParameter) return {3, 3};
  return {function == kSize ? 1U : 0U, 1};
}

const TypeName* FindType(std::string_view name, std::string_view TypeName::*column) {
  const auto found = std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeName& type) {
    return !(type.*column).empty() && type.*column == name;
  });
  return found == kTypes.end() ? nullptr : &*found;
}

/// Returns how many elements of the storage the view spans; nothing if that overflows.
std::optional<int64_t> SpanOf(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  int64_t last = 0;
  int64_t elements = 1;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    int64_t reach = 0;
    // Counts an empty axis as one element, because libtorch multiplies strides too.
    if (__builtin_mul_overflow(elements, std::max<int64_t>(shape[axis], 1), &elements)) return std::nullopt;
    if (__builtin_mul_overflow(std::max<int64_t>(shape[axis] - 1, 0), strides[axis], &reach)) return std::nullopt;
    if (__builtin_add_overflow(last, reach, &last)) return std::nullopt;
  }
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  return last == std::numeric_limits<int64_t>::max() ? std::nullopt : std::optional(last + 1);
}

/// Checks that the view lies within its storage.
absl::Status CheckView(const PickledTensor& tensor) {
  if (tensor.shape.size() != tensor.strides.size() || tensor.shape.size() > kMaxDimensions) {
    return Malformed("a tensor's shape and strides do not belong together");
  }
  const auto negative = [](int64_t number) { return number < 0; };
  if (std::any_of(tensor.shape.begin(), tensor.shape.end(), negative) ||
      std::any_of(tensor.strides.begin(), tensor.strides.end(), negative) || tensor.offset < 0) {
    return Malformed("a tensor has a negative size, stride or offset");
  }
  const std::optional<int64_t> span = SpanOf(tensor.shape, tensor.strides);
  const int64_t available = tensor.storage_bytes / SafetensorsDtypeBytes(tensor.dtype);
  if (!span || *span > available || tensor.offset > available - *span) {
    return Malformed(fmt::format("a tensor reaches beyond the {} bytes of its storage", tensor.storage_bytes));
  }
  return absl::OkStatus();
}

/// Returns the key under which a dictionary holds a dictionary that has tensors; empty if none does.
std::string NestedTensors(Objects& objects, const Dictionary& top) {
  for (const auto& [key, value] : top.items) {
    const std::string* name = objects.As<std::string>(key);
    const Dictionary* nested = objects.As<Dictionary>(value);
    if (name == nullptr || nested == nullptr) continue;
    for (const auto& [inner_key, inner] : nested->items) {
      if (objects.As<Tensor>(inner) != nullptr) return *name;
    }
  }
  return "";
}

}  // namespace

absl::Status Malformed(std::string_view what) { return absl::DataLossError(fmt::format("is malformed: {}", what)); }

bool IsKnownGlobal(std::string_view name) {
  return name == kBytes || FindType(name, &TypeName::storage) != nullptr ||
         FindType(name, &TypeName::dtype) != nullptr ||
         std::find(kFunctions.begin(), kFunctions.end(), name) != kFunctions.end() ||
         std::find(kClasses.begin(), kClasses.end(), name) != kClasses.end();
}

absl::StatusOr<Ref> Objects::Add(Object object) {
  if (objects_.size() == kMaxObjects) return absl::DataLossError("describes more objects than any model needs");
  objects_.push_back(std::move(object));
  return static_cast<Ref>(objects_.size() - 1);
}

std::optional<std::vector<int64_t>> Objects::Integers(Ref ref) {
  const Sequence* sequence = As<Sequence>(ref);
  if (sequence == nullptr || sequence->items.size() > kMaxDimensions) return std::nullopt;
  std::vector<int64_t> numbers;
  for (const Ref item : sequence->items) {
    const int64_t* number = As<int64_t>(item);
    if (number == nullptr) return std::nullopt;
    numbers.push_back(*number);
  }
  return numbers;
}

absl::StatusOr<Ref> Objects::StorageOf(Ref id) {
  const Sequence* parts = As<Sequence>(id);
  if (parts == nullptr || parts->items.size() != 5) return Malformed("a storage is not described by five values");
  const std::string* word = As<std::string>(parts->items[0]);
  const Global* type = As<Global>(parts->items[1]);
  const std::string* key = As<std::string>(parts->items[2]);
  const int64_t* count = As<int64_t>(parts->items[4]);
  if (word == nullptr || *word != "storage" || type == nullptr || key == nullptr || count == nullptr || *count < 0 ||
      key->size() > kMaxKeyBytes) {
    return Malformed("a storage is not described by its type, its name and its size");
  }
  Storage storage{.key = *key};
  int64_t element_bytes = 1;
  if (type->name != kBytes) {
    const TypeName* found = FindType(type->name, &TypeName::storage);
    if (found == nullptr) return Malformed(fmt::format("'{}' is not the type of a storage", type->name));
    storage.dtype = found->kind;
    element_bytes = SafetensorsDtypeBytes(found->kind);
  }
  if (__builtin_mul_overflow(*count, element_bytes, &storage.bytes))
    return Malformed("the size of a storage overflows");
  return Add(std::move(storage));
}

absl::StatusOr<Ref> Objects::MakeDictionary(const std::vector<Ref>& arguments) {
  Dictionary dictionary;
  if (arguments.size() == 1) {
    const Sequence* pairs = As<Sequence>(arguments[0]);
    if (pairs == nullptr) return Malformed("a dictionary is not made of pairs");
    copied_items_ += pairs->items.size();
    if (copied_items_ > kMaxObjects) return Malformed("its dictionaries have more items than any model needs");
    for (const Ref ref : pairs->items) {
      const Sequence* pair = As<Sequence>(ref);
      if (pair == nullptr || pair->items.size() != 2) return Malformed("a dictionary is not made of pairs");
      REGROUP_RETURN_IF_ERROR(SetItem(dictionary, pair->items[0], pair->items[1]));
    }
  }
  return Add(std::move(dictionary));
}

bool Objects::EndsWithGradients(const std::vector<Ref>& arguments, size_t first) {
  const Ref hooks = arguments[first + 1];
  return As<Boolean>(arguments[first]) != nullptr && (As<Dictionary>(hooks) != nullptr || As<Other>(hooks) != nullptr);
}

absl::Status Objects::CheckMetadata(const std::vector<Ref>& arguments, size_t position) {
  if (position >= arguments.size() || As<Other>(arguments[position]) != nullptr) return absl::OkStatus();
  const Dictionary* metadata = As<Dictionary>(arguments[position]);
  if (metadata != nullptr && metadata->items.empty()) return absl::OkStatus();
  return absl::DataLossError(
      "has a tensor that is a negated or conjugated view of its storage; save it with resolve_neg().resolve_conj()");
}

/// The arguments are storage, offset, shape, strides and then, in newer versions, whether the tensor has gradients, its
/// hooks, the element type (if the function names it) and metadata.
absl::StatusOr<Ref> Objects::MakeTensor(const std::vector<Ref>& arguments, bool names_dtype) {
  constexpr size_t kDtypeArgument = 6;
  const Storage* storage = As<Storage>(arguments[0]);
  const int64_t* offset = As<int64_t>(arguments[1]);
  std::optional<std::vector<int64_t>> shape = Integers(arguments[2]), strides = Integers(arguments[3]);
  if (storage == nullptr || offset == nullptr || !shape || !strides) {
    return Malformed("a tensor is not described by storage, offset, shape and strides");
  }
  if (arguments.size() > 4 && !EndsWithGradients(arguments, 4)) return Malformed("a tensor has unknown settings");
  REGROUP_RETURN_IF_ERROR(CheckMetadata(arguments, names_dtype ? kDtypeArgument + 1 : kDtypeArgument));
  std::optional<SafetensorsDtype> dtype = storage->dtype;
  if (names_dtype) {
    const Global* name = As<Global>(arguments[kDtypeArgument]);
    const TypeName* type = name == nullptr ? nullptr : FindType(name->name, &TypeName::dtype);
    if (type == nullptr) return Malformed("a tensor does not name its element type");
    dtype = type->kind;
  }
  if (!dtype) return Malformed("a tensor has no element type");
  Tensor made{.tensor = {.dtype = *dtype,
                         .shape = *std::move(shape),
                         .strides = *std::move(strides),
                         .offset = *offset,
                         .storage = storage->key,
                         .storage_bytes = storage->bytes}};
  REGROUP_RETURN_IF_ERROR(CheckView(made.tensor));
  return Add(std::move(made));
}

absl::StatusOr<Ref> Objects::CallByName(const std::string& name, const std::vector<Ref>& arguments) {
  if (const auto [least, most] = ArgumentsOf(name); arguments.size() < least || arguments.size() > most) {
    return Malformed(fmt::format("'{}' is called with {} values", name, arguments.size()));
  }
  if (name == kDictionary) return MakeDictionary(arguments);
  if (name == kTensor || name == kTensor2 || name == kTensor3) return MakeTensor(arguments, name == kTensor3);
  if (name == kParameter || name == kParameterWithState) {
    if (As<Tensor>(arguments[0]) == nullptr || !EndsWithGradients(arguments, 1)) {
      return Malformed("a parameter is not a tensor");
    }
    return arguments[0];
  }
  if (name == kSize) {
    if (As<Sequence>(arguments[0]) != nullptr) return arguments[0];
    return Malformed("a size is not a list of numbers");
  }
  return absl::DataLossError(fmt::format("calls '{}', which is not a function that makes a tensor", name));
}

absl::StatusOr<Ref> Objects::Call(Ref function, Ref arguments) {
  const Global* called = As<Global>(function);
  const Sequence* given = As<Sequence>(arguments);
  if (called == nullptr || given == nullptr) return Malformed("what it calls is not a function");
  if (called->name != kFromType) return CallByName(called->name, given->items);
  // A tensor with attributes: the function that makes it, its type, that function's arguments, the attributes.
  if (given->items.size() != 4) return Malformed("a tensor with attributes is not described by four values");
  const Global* maker = As<Global>(given->items[0]);
  const Global* type = As<Global>(given->items[1]);
  const Sequence* inner = As<Sequence>(given->items[2]);
  if (maker == nullptr || type == nullptr || inner == nullptr ||
      std::find(kClasses.begin(), kClasses.end(), type->name) == kClasses.end()) {
    return Malformed("a tensor with attributes is not a plain tensor");
  }
  return CallByName(maker->name, inner->items);
}

absl::Status Objects::SetItem(Dictionary& dictionary, Ref key, Ref value) {
  if (As<Sequence>(key) != nullptr || As<Dictionary>(key) != nullptr)
    return Malformed("a key is not a text or a number");
  dictionary.items.emplace_back(key, value);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<PickledTensor>> TensorsOf(Objects& objects, Ref top) {
  const Dictionary* dictionary = objects.As<Dictionary>(top);
  if (dictionary == nullptr) return absl::DataLossError("does not hold a dictionary of tensors; save the state_dict()");
  std::map<std::string, PickledTensor> tensors;
  for (const auto& [key, value] : dictionary->items) {
    const std::string* name = objects.As<std::string>(key);
    const Tensor* tensor = objects.As<Tensor>(value);
    if (name == nullptr) continue;
    // As in Python, the last value of a key counts.
    tensors.erase(*name);
    if (tensor == nullptr) continue;
    PickledTensor& made = tensors[*name];
    made = tensor->tensor;
    made.name = *name;
  }
  if (tensors.empty()) {
    const std::string nested = NestedTensors(objects, *dictionary);
    if (!nested.empty()) {
      return absl::DataLossError(
          fmt::format("holds its tensors under the key {}; save that dictionary alone", ShownName(nested)));
    }
  }
  std::vector<PickledTensor> result;
  for (auto& [name, tensor] : tensors) result.push_back(std::move(tensor));
  return result;
}

}  // namespace regroup::pickle
