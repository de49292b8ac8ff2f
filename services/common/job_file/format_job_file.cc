// Writes a job as YAML: FormatJobFile of job_file.h.
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>
#include <vector>

#include "services/common/job_file/job_file.h"

namespace regroup {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

/// Returns true if every YAML version reads the text without quotes as a string.
bool IsSafeBare(std::string_view text) {
  static constexpr std::string_view words[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};
  if (text.empty() || std::isdigit(static_cast<unsigned char>(text.front())) != 0) return false;
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (std::find(std::begin(words), std::end(words), lower) != std::end(words)) return false;
  const auto safe = [](unsigned char c) { return std::isalnum(c) != 0 || c == '/' || c == '_'; };
  const auto safe_inside = [&](unsigned char c) { return safe(c) || c == '-' || c == '.'; };
  return safe(static_cast<unsigned char>(text.front())) && std::all_of(text.begin(), text.end(), safe_inside);
}

std::string Text(std::string_view text) {
  if (IsSafeBare(text)) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      quoted += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

/// Returns the shortest text that reads back as the same number, always with a decimal point: YAML 1.1 reads 1e-05 as a
/// string.
std::string Number(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find('.') == std::string::npos) text.insert(std::min(text.find('e'), text.size()), ".0");
  return text;
}

std::string Scalar(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_INT32:
      return std::to_string(reflection.GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_INT64:
      return std::to_string(reflection.GetInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return Number(reflection.GetDouble(message, &field));
    default:
      return Text(reflection.GetString(message, &field));
  }
}

std::string ListItem(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetRepeatedBool(message, &field, index) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_INT32:
      return std::to_string(reflection.GetRepeatedInt32(message, &field, index));
    default:
      return Text(reflection.GetRepeatedString(message, &field, index));
  }
}

void WriteMessage(const Message& message, const std::string& indent, std::string& out);

void WriteMessageList(const Message& message, const FieldDescriptor& field, const std::string& indent,
                      std::string& out) {
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    std::string item;
    WriteMessage(reflection.GetRepeatedMessage(message, &field, i), indent + "    ", item);
    if (item.empty()) {
      out += indent + "  - {}\n";
      continue;
    }
    item.replace(indent.size() + 2, 2, "- ");
    out += item;
  }
}

void WriteTextMap(const Message& message, const FieldDescriptor& field, const std::string& indent, std::string& out) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<std::string> lines;
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Message& pair = reflection.GetRepeatedMessage(message, &field, i);
    lines.push_back(fmt::format("{}  {}: {}\n", indent, Scalar(pair, *field.message_type()->map_key()),
                                Scalar(pair, *field.message_type()->map_value())));
  }
  std::sort(lines.begin(), lines.end());
  for (const std::string& line : lines) out += line;
}

void WriteList(const Message& message, const FieldDescriptor& field, std::string& out) {
  const int size = message.GetReflection()->FieldSize(message, &field);
  for (int i = 0; i < size; ++i) {
    if (i > 0) out += ", ";
    out += ListItem(message, field, i);
  }
}

void WriteField(const Message& message, const FieldDescriptor& field, const std::string& indent, std::string& out) {
  const bool is_message = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
  out += indent + field.name() + ":";
  if (!is_message && !field.is_repeated()) {
    out += fmt::format(" {}\n", Scalar(message, field));
  } else if (!is_message) {
    out += " [";
    WriteList(message, field, out);
    out += "]\n";
  } else if (field.is_map()) {
    out += "\n";
    WriteTextMap(message, field, indent, out);
  } else if (field.is_repeated()) {
    out += "\n";
    WriteMessageList(message, field, indent, out);
  } else {
    std::string below;
    WriteMessage(message.GetReflection()->GetMessage(message, &field), indent + "  ", below);
    out += below.empty() ? " {}\n" : "\n";
    out += below;
  }
}

void WriteMessage(const Message& message, const std::string& indent, std::string& out) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  // The order in which job.proto declares them, which is that of the work; ListFields sorts by number.
  std::sort(fields.begin(), fields.end(),
            [](const auto* one, const auto* other) { return one->index() < other->index(); });
  for (const FieldDescriptor* field : fields) WriteField(message, *field, indent, out);
}

}  // namespace

std::string FormatJobFile(const v1::JobSpec& spec) {
  std::string out;
  WriteMessage(spec, "", out);
  return out;
}

}  // namespace regroup
