// Makes messages and JSON from elsewhere fit for people's eyes: every string in them is shown as text (PrintableText).
// JSON needs no such copy, because JsonOf and JsonText escape the same characters. Pure.
#pragma once

#include <google/protobuf/message.h>

#include <nlohmann/json.hpp>

namespace regroup {

/// Rewrites every string of the message, in lists, maps and messages within it too. Further lines of a field called
/// "message" are kept and indented; any other field becomes one line.
void MakePrintable(google::protobuf::Message* message);

/// Returns a copy whose strings are printable.
template <typename Message>
Message Printable(const Message& message) {
  Message copy = message;
  MakePrintable(&copy);
  return copy;
}

/// Returns a copy whose strings and keys are printable.
nlohmann::json Printable(const nlohmann::json& value);

}  // namespace regroup
