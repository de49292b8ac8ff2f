#include "services/common/job_file/job_file.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <charconv>
#include <cmath>
#include <filesystem>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "services/common/base/files.h"
#include "services/common/base/paths.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/address.h"
#include "services/common/job_file/allowed_paths.h"
#include "services/common/job_file/nearest_word.h"

namespace regroup {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr size_t kMaximumMistakes = 20;

std::vector<std::string_view> KeysOf(const Descriptor& descriptor) {
  std::vector<std::string_view> keys;
  keys.reserve(static_cast<size_t>(descriptor.field_count()));
  for (int i = 0; i < descriptor.field_count(); ++i) keys.push_back(descriptor.field(i)->name());
  return keys;
}

/// Returns the path of a key of that name anywhere below the descriptor.
std::optional<std::string> FindElsewhere(const Descriptor& descriptor, std::string_view key) {
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (field.name() == key) return field.name();
    if (field.type() != FieldDescriptor::TYPE_MESSAGE || field.is_map()) continue;
    if (const auto below = FindElsewhere(*field.message_type(), key)) return field.name() + "." + *below;
  }
  return std::nullopt;
}

/// Returns the whole text as a number, or nothing.
template <typename Number>
std::optional<Number> NumberIn(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  Number value{};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  if constexpr (std::is_floating_point_v<Number>) {
    if (!std::isfinite(value)) return std::nullopt;
  }
  return value;
}

std::optional<bool> BoolIn(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return std::nullopt;
}

std::string ExpectedOf(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
      return "a whole number";
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "a number";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "a mapping with " + ListWords(KeysOf(*field.message_type()));
    default:
      return "a string";
  }
}

std::string Shown(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kSequence:
      return "a list";
    case YamlNode::Kind::kMapping:
      return "a mapping";
    case YamlNode::Kind::kScalar:
      break;
  }
  const char quote = node.quoted ? '"' : '\'';
  constexpr size_t longest_shown = 60;
  const bool cut = node.text.size() > longest_shown;
  return fmt::format("{}{}{}{}", quote, node.text.substr(0, longest_shown), cut ? "..." : "", quote);
}

/// Sets the field, or appends to it if it is a list.
template <typename Value>
bool Store(const std::optional<Value>& value, const FieldDescriptor& field, Message& message,
           void (Reflection::*set)(Message*, const FieldDescriptor*, Value) const,
           void (Reflection::*add)(Message*, const FieldDescriptor*, Value) const) {
  if (!value) return false;
  const Reflection& reflection = *message.GetReflection();
  (reflection.*(field.is_repeated() ? add : set))(&message, &field, *value);
  return true;
}

/// Stores the node's text in the field. Returns false if the text does not have the field's type.
bool StoreScalar(const YamlNode& node, const FieldDescriptor& field, Message& message) {
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    return Store<std::string>(node.text, field, message, &Reflection::SetString, &Reflection::AddString);
  }
  if (node.quoted) return false;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return Store(BoolIn(node.text), field, message, &Reflection::SetBool, &Reflection::AddBool);
    case FieldDescriptor::CPPTYPE_INT32:
      return Store(NumberIn<int32_t>(node.text), field, message, &Reflection::SetInt32, &Reflection::AddInt32);
    case FieldDescriptor::CPPTYPE_INT64:
      return Store(NumberIn<int64_t>(node.text), field, message, &Reflection::SetInt64, &Reflection::AddInt64);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return Store(NumberIn<double>(node.text), field, message, &Reflection::SetDouble, &Reflection::AddDouble);
    default:
      return false;
  }
}

/// Fills one message from one tree by reflection and collects every mistake. Handles the field types that JobSpec has:
/// string, bool, integers, double, messages, lists of these, and maps from string to string.
class MessageReader {
 public:
  explicit MessageReader(std::string_view file_name) : file_name_(file_name) {}

  /// `node` must be a mapping.
  void Read(const YamlNode& node, Message& message);

  /// Returns one "file:line:column: ..." for each mistake, in the order of the file; empty if there is none.
  const std::vector<std::string>& mistakes() const { return mistakes_; }
  /// Returns the position of each key by its path.
  const std::map<std::string, Position>& positions() const { return positions_; }

 private:
  using Field = FieldDescriptor;

  void ReadMapping(const YamlNode& node, const std::string& path, Message& message);
  void ReadField(const YamlNode& node, const std::string& path, const Field& field, Message& message);
  void ReadList(const YamlNode& node, const std::string& path, const Field& field, Message& message);
  bool ReadListOfNames(const YamlNode& node, const std::string& path, const Field& field, Message& message);
  void ReadTextMap(const YamlNode& node, const std::string& path, const Field& field, Message& message);
  void ReadMessage(const YamlNode& node, const std::string& path, const Field& field, Message& message);
  void ReadScalar(const YamlNode& node, const std::string& path, const Field& field, Message& message);
  void RefuseKey(const YamlNode::Entry& entry, const Descriptor& descriptor);
  void Refuse(Position position, std::string_view message);

  std::string file_name_;
  const Descriptor* root_ = nullptr;
  std::vector<std::string> mistakes_;
  std::map<std::string, Position> positions_;
};

void MessageReader::Read(const YamlNode& node, Message& message) {
  root_ = message.GetDescriptor();
  ReadMapping(node, "", message);
}

void MessageReader::ReadMapping(const YamlNode& node, const std::string& path, Message& message) {
  for (const YamlNode::Entry& entry : node.entries) {
    const Field* field = message.GetDescriptor()->FindFieldByName(entry.key);
    if (field == nullptr) {
      RefuseKey(entry, *message.GetDescriptor());
      continue;
    }
    const std::string field_path = path.empty() ? entry.key : path + "." + entry.key;
    positions_.emplace(field_path, entry.position);
    ReadField(entry.value, field_path, *field, message);
  }
}

void MessageReader::ReadField(const YamlNode& node, const std::string& path, const Field& field, Message& message) {
  if (field.is_map()) {
    ReadTextMap(node, path, field, message);
  } else if (field.is_repeated()) {
    ReadList(node, path, field, message);
  } else if (field.cpp_type() == Field::CPPTYPE_MESSAGE) {
    ReadMessage(node, path, field, message);
  } else if (!ReadListOfNames(node, path, field, message)) {
    ReadScalar(node, path, field, message);
  }
}

/// Reads a list that is written under `data` as data_files; returns false if the node is none.
bool MessageReader::ReadListOfNames(const YamlNode& node, const std::string& path, const Field& field,
                                    Message& message) {
  if (node.kind != YamlNode::Kind::kSequence) return false;
  const Field* const list = message.GetDescriptor()->FindFieldByName(field.name() + "_files");
  if (list == nullptr || message.GetReflection()->FieldSize(message, list) > 0) return false;
  positions_.emplace(path + "_files", node.position);
  ReadList(node, path + "_files", *list, message);
  return true;
}

void MessageReader::ReadList(const YamlNode& node, const std::string& path, const Field& field, Message& message) {
  if (node.kind != YamlNode::Kind::kSequence) {
    Refuse(node.position, fmt::format("{} is a list; write [ ... ] instead of {}", path, Shown(node)));
    return;
  }
  for (size_t i = 0; i < node.items.size(); ++i) {
    const YamlNode& item = node.items[i];
    const std::string item_path = fmt::format("{}[{}]", path, i);
    positions_.emplace(item_path, item.position);
    if (field.cpp_type() == Field::CPPTYPE_MESSAGE) {
      ReadMessage(item, item_path, field, message);
    } else {
      ReadScalar(item, item_path, field, message);
    }
  }
}

void MessageReader::ReadTextMap(const YamlNode& node, const std::string& path, const Field& field, Message& message) {
  if (node.kind != YamlNode::Kind::kMapping) {
    Refuse(node.position, fmt::format("{} is a mapping from names to strings, not {}", path, Shown(node)));
    return;
  }
  for (const YamlNode::Entry& entry : node.entries) {
    positions_.emplace(path + "." + entry.key, entry.position);
    Message& pair = *message.GetReflection()->AddMessage(&message, &field);
    pair.GetReflection()->SetString(&pair, field.message_type()->map_key(), entry.key);
    ReadScalar(entry.value, path + "." + entry.key, *field.message_type()->map_value(), pair);
  }
}

void MessageReader::ReadMessage(const YamlNode& node, const std::string& path, const Field& field, Message& message) {
  if (node.kind != YamlNode::Kind::kMapping) {
    Refuse(node.position, fmt::format("{} is {}, not {}", path, ExpectedOf(field), Shown(node)));
    return;
  }
  const auto& reflection = *message.GetReflection();
  Message* const below =
      field.is_repeated() ? reflection.AddMessage(&message, &field) : reflection.MutableMessage(&message, &field);
  ReadMapping(node, path, *below);
}

void MessageReader::ReadScalar(const YamlNode& node, const std::string& path, const Field& field, Message& message) {
  if (node.kind == YamlNode::Kind::kScalar && StoreScalar(node, field, message)) return;
  const bool only_quotes = node.quoted && NumberIn<double>(node.text).has_value();
  Refuse(node.position,
         fmt::format("{} is {}{}, not {}", path, ExpectedOf(field), only_quotes ? " without quotes" : "", Shown(node)));
}

void MessageReader::RefuseKey(const YamlNode::Entry& entry, const Descriptor& descriptor) {
  if (mistakes_.size() >= kMaximumMistakes) return;
  const std::vector<std::string_view> keys = KeysOf(descriptor);
  if (const auto elsewhere = FindElsewhere(*root_, entry.key)) {
    const bool at_the_top = elsewhere->find('.') == std::string::npos;
    Refuse(entry.position, fmt::format("unknown key '{}' here; did you mean '{}'{}?", entry.key, *elsewhere,
                                       at_the_top ? " at the top of the file" : ""));
  } else if (const auto nearest = NearestWord(entry.key, keys)) {
    Refuse(entry.position, fmt::format("unknown key '{}'; did you mean '{}'?", entry.key, *nearest));
  } else {
    Refuse(entry.position, fmt::format("unknown key '{}'; known here: {}", entry.key, ListWords(keys)));
  }
}

void MessageReader::Refuse(Position position, std::string_view message) {
  if (mistakes_.size() < kMaximumMistakes) mistakes_.push_back(AtPosition(file_name_, position, message));
}

/// Makes the job's paths absolute; adds a mistake for each path that cannot be resolved.
void ResolvePaths(JobFile& file, std::vector<std::string>& mistakes) {
  const std::filesystem::path folder = Absolute(file.file_name).parent_path();
  ForEachPath(file.spec, [&](const std::string& field, std::string& path) {
    if (IsAddress(path)) {
      while (path.ends_with('/') && !path.ends_with("://")) path.pop_back();
      return;
    }
    if (path.front() == '~') {
      mistakes.push_back(AtPosition(file.file_name, file.positions.at(field),
                                    fmt::format("{}: '~' is not expanded; write the whole path", field)));
    } else if (path.front() != '/') {
      path = (folder / path).lexically_normal().string();
      if (path.size() > 1 && path.back() == '/') path.pop_back();
    }
  });
}

std::string JoinLines(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "\n") + line;
  return text;
}

/// "a.b[0].c" -> "a.b[0]" -> "a.b" -> "a" -> "".
std::string ParentPath(const std::string& path) {
  const size_t end = path.find_last_of(".[");
  return end == std::string::npos ? "" : path.substr(0, end);
}

}  // namespace

absl::StatusOr<JobFile> ParseJobFileWithPositions(std::string_view text, std::string_view file_name) {
  REGROUP_ASSIGN_OR_RETURN(const YamlNode root, ParseYamlTree(text, file_name));
  JobFile file;
  file.file_name = std::string(file_name);
  MessageReader reader(file_name);
  reader.Read(root, file.spec);
  file.positions = reader.positions();
  std::vector<std::string> mistakes = reader.mistakes();
  ResolvePaths(file, mistakes);
  if (!mistakes.empty()) return absl::InvalidArgumentError(JoinLines(mistakes));
  return file;
}

absl::StatusOr<v1::JobSpec> ParseJobFile(std::string_view text, std::string_view file_name) {
  REGROUP_ASSIGN_OR_RETURN(JobFile file, ParseJobFileWithPositions(text, file_name));
  return std::move(file.spec);
}

absl::StatusOr<JobFile> ReadJobFile(const std::string& path) {
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseJobFileWithPositions(text, path);
}

std::string DescribeViolation(const JobFile& file, const FieldViolation& violation) {
  for (std::string path = violation.field(); !path.empty(); path = ParentPath(path)) {
    const auto found = file.positions.find(path);
    if (found == file.positions.end()) continue;
    return AtPosition(file.file_name, found->second, fmt::format("{}: {}", violation.field(), violation.description()));
  }
  return fmt::format("{}: {}: {}", file.file_name, violation.field(), violation.description());
}

}  // namespace regroup
