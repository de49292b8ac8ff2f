// Converts values of the API's enumerations to words. Pure functions, for any thread.
#pragma once

#include <google/protobuf/generated_enum_reflection.h>

#include <string>

namespace regroup {

/// Returns "lost" for number 3 of WorkerState, WORKER_STATE_LOST; empty for an unknown number.
std::string EnumWord(const google::protobuf::EnumDescriptor& type, int number);

/// Returns the value's name in lower case without that of its type: "lost" for WORKER_STATE_LOST; empty for a value
/// that this program does not know.
template <typename Enum>
std::string EnumWord(Enum value) {
  return EnumWord(*google::protobuf::GetEnumDescriptor<Enum>(), value);
}

}  // namespace regroup
