#include "trainer/checkpoint/torch_pickle.h"

#include <fmt/format.h>

#include <unordered_map>
#include <utility>

#include <nlohmann/json.hpp>

#include "services/common/base/status_macros.h"
#include "trainer/checkpoint/safetensors_header_parser.h"
#include "trainer/checkpoint/torch_pickle_values.h"

namespace regroup {
namespace {

using pickle::Boolean;
using pickle::Dictionary;
using pickle::Global;
using pickle::kMaxObjects;
using pickle::Malformed;
using pickle::Other;
using pickle::Ref;
using pickle::Sequence;

/// The opcodes that torch.save writes, by their bytes.
enum Opcode : unsigned char {
  kMark = '(',
  kStop = '.',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kShortBinString = 'U',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyTuple = ')',
  kEmptyList = ']',
  kEmptyDict = '}',
  kProtocol = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
};

bool IsUtf8(std::string_view text) {
  try {
    (void)nlohmann::json(text).dump();
    return true;
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
}

/// The stack machine. Its errors are ends of a sentence that begins with the file's name.
class Machine {
 public:
  explicit Machine(std::string_view code) : code_(code) {}

  /// Returns the object that the pickle describes.
  absl::StatusOr<Ref> Run() {
    while (true) {
      REGROUP_ASSIGN_OR_RETURN(const std::string_view opcode, Take(1));
      if (static_cast<unsigned char>(opcode[0]) == kStop) return Pop();
      REGROUP_RETURN_IF_ERROR(Execute(static_cast<unsigned char>(opcode[0])));
    }
  }

  pickle::Objects& objects() { return objects_; }

 private:
  absl::StatusOr<std::string_view> Take(uint64_t bytes) {
    if (bytes > code_.size() - position_) return Malformed("it ends in the middle of an instruction");
    const std::string_view taken = code_.substr(position_, bytes);
    position_ += bytes;
    return taken;
  }
  absl::StatusOr<uint64_t> TakeNumber(size_t bytes);
  absl::StatusOr<std::string_view> TakeLine();
  absl::StatusOr<std::string_view> TakeText(size_t length_bytes);

  absl::StatusOr<Ref> Pop();
  absl::Status PushRef(Ref ref);
  absl::Status Push(pickle::Object object);
  absl::StatusOr<std::vector<Ref>> PopToMark();

  absl::Status Execute(unsigned char opcode);
  absl::Status ExecuteConstant(unsigned char opcode);
  absl::Status ExecuteMemo(unsigned char opcode);
  absl::Status ExecuteContainer(unsigned char opcode);
  absl::Status ExecuteCall(unsigned char opcode);
  absl::Status PushGlobal();
  absl::Status PushLong();
  absl::Status PushTuple(size_t items);
  absl::Status SetItems(const std::vector<Ref>& items);
  absl::Status AppendItems(const std::vector<Ref>& items);
  absl::Status Build();

  std::string_view code_;
  size_t position_ = 0;
  pickle::Objects objects_;
  std::vector<Ref> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, Ref> memo_;
};

absl::StatusOr<uint64_t> Machine::TakeNumber(size_t bytes) {
  REGROUP_ASSIGN_OR_RETURN(const std::string_view taken, Take(bytes));
  uint64_t number = 0;
  for (size_t i = bytes; i-- > 0;) number = number << 8 | static_cast<unsigned char>(taken[i]);
  return number;
}

absl::StatusOr<std::string_view> Machine::TakeLine() {
  const size_t end = code_.find('\n', position_);
  if (end == code_.npos) return Malformed("it ends in the middle of a name");
  REGROUP_ASSIGN_OR_RETURN(const std::string_view line, Take(end + 1 - position_));
  return line.substr(0, line.size() - 1);
}

absl::StatusOr<std::string_view> Machine::TakeText(size_t length_bytes) {
  REGROUP_ASSIGN_OR_RETURN(const uint64_t length, TakeNumber(length_bytes));
  return Take(length);
}

absl::StatusOr<Ref> Machine::Pop() {
  const size_t bottom = marks_.empty() ? 0 : marks_.back();
  if (stack_.size() <= bottom) return Malformed("it uses a value that it does not have");
  const Ref top = stack_.back();
  stack_.pop_back();
  return top;
}

absl::Status Machine::PushRef(Ref ref) {
  if (stack_.size() == kMaxObjects) return Malformed("it keeps more values than any model needs");
  stack_.push_back(ref);
  return absl::OkStatus();
}

absl::Status Machine::Push(pickle::Object object) {
  REGROUP_ASSIGN_OR_RETURN(const Ref ref, objects_.Add(std::move(object)));
  return PushRef(ref);
}

absl::StatusOr<std::vector<Ref>> Machine::PopToMark() {
  if (marks_.empty()) return Malformed("it ends a list that it did not begin");
  const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  std::vector<Ref> items(begin, stack_.end());
  stack_.erase(begin, stack_.end());
  marks_.pop_back();
  return items;
}

absl::Status Machine::Execute(unsigned char opcode) {
  switch (opcode) {
    case kProtocol:
      return Take(1).status();
    case kMark:
      if (marks_.size() == kMaxObjects) return Malformed("it nests deeper than any model needs");
      marks_.push_back(stack_.size());
      return absl::OkStatus();
    case kBinFloat:
    case kBinInt:
    case kBinInt1:
    case kBinInt2:
    case kNone:
    case kNewTrue:
    case kNewFalse:
    case kLong1:
    case kShortBinString:
    case kBinUnicode:
    case kGlobal:
      return ExecuteConstant(opcode);
    case kBinGet:
    case kLongBinGet:
    case kBinPut:
    case kLongBinPut:
      return ExecuteMemo(opcode);
    case kReduce:
    case kBinPersId:
    case kBuild:
      return ExecuteCall(opcode);
    default:
      return ExecuteContainer(opcode);
  }
}

absl::Status Machine::ExecuteConstant(unsigned char opcode) {
  switch (opcode) {
    case kBinFloat:
      REGROUP_RETURN_IF_ERROR(Take(8).status());
      return Push(Other());
    case kBinInt: {
      REGROUP_ASSIGN_OR_RETURN(const uint64_t number, TakeNumber(4));
      return Push(static_cast<int64_t>(static_cast<int32_t>(number)));
    }
    case kBinInt1:
    case kBinInt2: {
      REGROUP_ASSIGN_OR_RETURN(const uint64_t number, TakeNumber(opcode == kBinInt1 ? 1 : 2));
      return Push(static_cast<int64_t>(number));
    }
    case kLong1:
      return PushLong();
    case kShortBinString:
    case kBinUnicode: {
      REGROUP_ASSIGN_OR_RETURN(const std::string_view text, TakeText(opcode == kBinUnicode ? 4 : 1));
      if (!IsUtf8(text)) return Malformed("a text is not in UTF-8");
      return Push(std::string(text));
    }
    case kGlobal:
      return PushGlobal();
    case kNewTrue:
    case kNewFalse:
      return Push(Boolean());
    default:
      return Push(Other());
  }
}

absl::Status Machine::PushLong() {
  REGROUP_ASSIGN_OR_RETURN(const std::string_view bytes, TakeText(1));
  if (bytes.size() > sizeof(int64_t)) return Malformed("a number has more than 64 bits");
  const bool negative = !bytes.empty() && (static_cast<unsigned char>(bytes.back()) & 0x80) != 0;
  uint64_t number = negative ? ~uint64_t{0} : 0;
  for (size_t i = bytes.size(); i-- > 0;) number = number << 8 | static_cast<unsigned char>(bytes[i]);
  return Push(static_cast<int64_t>(number));
}

absl::Status Machine::PushGlobal() {
  REGROUP_ASSIGN_OR_RETURN(const std::string_view module, TakeLine());
  REGROUP_ASSIGN_OR_RETURN(const std::string_view name, TakeLine());
  std::string full = fmt::format("{}.{}", module, name);
  if (!pickle::IsKnownGlobal(full)) {
    return absl::DataLossError(
        fmt::format("needs {} of Python, which a file of weights has no use for and which is never run; load it where "
                    "you trust it, and save its state_dict() alone",
                    ShownName(full)));
  }
  return Push(Global{std::move(full)});
}

absl::Status Machine::ExecuteMemo(unsigned char opcode) {
  const bool is_long = opcode == kLongBinGet || opcode == kLongBinPut;
  REGROUP_ASSIGN_OR_RETURN(const uint64_t place, TakeNumber(is_long ? 4 : 1));
  if (opcode == kBinPut || opcode == kLongBinPut) {
    REGROUP_ASSIGN_OR_RETURN(const Ref top, Pop());
    memo_[place] = top;
    if (memo_.size() > kMaxObjects) return Malformed("it keeps more values than any model needs");
    return PushRef(top);
  }
  const auto found = memo_.find(place);
  if (found == memo_.end()) return Malformed("it refers to a value that it did not keep");
  return PushRef(found->second);
}

absl::Status Machine::ExecuteCall(unsigned char opcode) {
  if (opcode == kBuild) return Build();
  REGROUP_ASSIGN_OR_RETURN(const Ref top, Pop());
  if (opcode == kBinPersId) {
    REGROUP_ASSIGN_OR_RETURN(const Ref storage, objects_.StorageOf(top));
    return PushRef(storage);
  }
  REGROUP_ASSIGN_OR_RETURN(const Ref function, Pop());
  REGROUP_ASSIGN_OR_RETURN(const Ref result, objects_.Call(function, top));
  return PushRef(result);
}

/// Attributes of a dictionary, such as the versions that torch.save notes in a state dictionary, are left out.
absl::Status Machine::Build() {
  REGROUP_RETURN_IF_ERROR(Pop().status());
  REGROUP_ASSIGN_OR_RETURN(const Ref object, Pop());
  if (objects_.As<Dictionary>(object) == nullptr) return Malformed("it sets attributes of what is not a dictionary");
  return PushRef(object);
}

absl::Status Machine::ExecuteContainer(unsigned char opcode) {
  switch (opcode) {
    case kEmptyTuple:
      return Push(Sequence());
    case kEmptyList:
      return Push(Sequence{.is_list = true});
    case kEmptyDict:
      return Push(Dictionary());
    case kTuple1:
    case kTuple2:
    case kTuple3:
      return PushTuple(1 + opcode - kTuple1);
    case kTuple: {
      REGROUP_ASSIGN_OR_RETURN(std::vector<Ref> items, PopToMark());
      return Push(Sequence{.items = std::move(items)});
    }
    case kSetItem:
    case kAppend: {
      REGROUP_ASSIGN_OR_RETURN(const Ref value, Pop());
      if (opcode == kAppend) return AppendItems({value});
      REGROUP_ASSIGN_OR_RETURN(const Ref key, Pop());
      return SetItems({key, value});
    }
    case kSetItems:
    case kAppends: {
      REGROUP_ASSIGN_OR_RETURN(const std::vector<Ref> items, PopToMark());
      return opcode == kSetItems ? SetItems(items) : AppendItems(items);
    }
    default:
      return absl::DataLossError(
          fmt::format("has the instruction 0x{:02x} at byte {}, which torch.save does not need for tensors; load it "
                      "where you trust it, and save its state_dict() again",
                      opcode, position_ - 1));
  }
}

absl::Status Machine::PushTuple(size_t items) {
  Sequence tuple;
  for (size_t i = 0; i < items; ++i) {
    REGROUP_ASSIGN_OR_RETURN(const Ref item, Pop());
    tuple.items.insert(tuple.items.begin(), item);
  }
  return Push(std::move(tuple));
}

absl::Status Machine::SetItems(const std::vector<Ref>& items) {
  REGROUP_ASSIGN_OR_RETURN(const Ref target, Pop());
  auto* dictionary = objects_.As<Dictionary>(target);
  if (dictionary == nullptr || items.size() % 2 != 0) return Malformed("it sets items of what is not a dictionary");
  for (size_t i = 0; i < items.size(); i += 2) {
    REGROUP_RETURN_IF_ERROR(objects_.SetItem(*dictionary, items[i], items[i + 1]));
  }
  return PushRef(target);
}

absl::Status Machine::AppendItems(const std::vector<Ref>& items) {
  REGROUP_ASSIGN_OR_RETURN(const Ref target, Pop());
  auto* list = objects_.As<Sequence>(target);
  if (list == nullptr || !list->is_list) return Malformed("it appends to what is not a list");
  list->items.insert(list->items.end(), items.begin(), items.end());
  return PushRef(target);
}

absl::Status InFile(std::string_view file, const absl::Status& status) {
  return absl::Status(status.code(), fmt::format("{} {}", file, std::string(status.message())));
}

}  // namespace

absl::StatusOr<std::vector<PickledTensor>> ReadTorchPickle(std::string_view pickle, std::string_view file) {
  if (pickle.size() > kMaxPickleBytes) {
    return absl::DataLossError(fmt::format("{} describes its tensors in {} bytes; {} are enough for any model", file,
                                           pickle.size(), kMaxPickleBytes));
  }
  Machine machine(pickle);
  const absl::StatusOr<Ref> top = machine.Run();
  if (!top.ok()) return InFile(file, top.status());
  auto tensors = pickle::TensorsOf(machine.objects(), *top);
  return tensors.ok() ? std::move(tensors) : InFile(file, tensors.status());
}

}  // namespace regroup
