#include "services/cli/printable.h"

#include <string>
#include <string_view>
#include <vector>

#include "services/common/base/printable_text.h"

namespace regroup {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr char kFurtherLine[] = "\n    ";

void MakeStringsPrintable(Message* message, const FieldDescriptor* field) {
  const Reflection* const reflection = message->GetReflection();
  const std::string_view line_end = field->name() == "message" ? kFurtherLine : "\\n";
  if (!field->is_repeated()) {
    reflection->SetString(message, field, PrintableText(reflection->GetString(*message, field), line_end));
    return;
  }
  for (int i = 0; i < reflection->FieldSize(*message, field); ++i) {
    reflection->SetRepeatedString(message, field, i,
                                  PrintableText(reflection->GetRepeatedString(*message, field, i), line_end));
  }
}

void MakeMessagesPrintable(Message* message, const FieldDescriptor* field) {
  const Reflection* const reflection = message->GetReflection();
  if (!field->is_repeated()) return MakePrintable(reflection->MutableMessage(message, field));
  // Entries of a map too: by reflection they are messages with a key and a value.
  for (int i = 0; i < reflection->FieldSize(*message, field); ++i) {
    MakePrintable(reflection->MutableRepeatedMessage(message, field, i));
  }
}

}  // namespace

void MakePrintable(Message* message) {
  std::vector<const FieldDescriptor*> fields;
  message->GetReflection()->ListFields(*message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) MakeStringsPrintable(message, field);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) MakeMessagesPrintable(message, field);
  }
}

nlohmann::json Printable(const nlohmann::json& value) {
  if (value.is_string()) return PrintableText(value.get<std::string>());
  nlohmann::json copy = value;
  if (value.is_array()) {
    for (nlohmann::json& item : copy) item = Printable(item);
  } else if (value.is_object()) {
    copy = nlohmann::json::object();
    for (const auto& [key, item] : value.items()) copy[PrintableText(key)] = Printable(item);
  }
  return copy;
}

}  // namespace regroup
