#include "services/common/base/enum_words.h"

#include <google/protobuf/descriptor.h>

#include <string_view>

#include "absl/strings/ascii.h"

namespace regroup {

std::string EnumWord(const google::protobuf::EnumDescriptor& type, int number) {
  const google::protobuf::EnumValueDescriptor* const value = type.FindValueByNumber(number);
  if (value == nullptr) return "";
  // All names of a type have the prefix of its value 0.
  const size_t prefix = type.value(0)->name().size() - std::string_view("UNSPECIFIED").size();
  return absl::AsciiStrToLower(value->name().substr(prefix));
}

}  // namespace regroup
