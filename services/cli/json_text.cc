#include "services/cli/json_text.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <vector>

#include "services/cli/quantity_text.h"
#include "services/cli/text_table.h"
#include "services/common/base/printable_text.h"

namespace regroup {
namespace {

using nlohmann::json;

std::string ScalarText(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number_integer()) return GroupedText(value.get<int64_t>());
  if (value.is_number_float()) return FigureText(value.get<double>());
  return value.is_null() ? "-" : value.dump();
}

bool IsScalar(const json& value) { return !value.is_object() && !value.is_array(); }

bool IsScalarList(const json& value) { return value.is_array() && std::all_of(value.begin(), value.end(), IsScalar); }

bool IsFlatObject(const json& value) {
  return value.is_object() &&
         std::all_of(value.begin(), value.end(), [](const json& item) { return IsScalar(item) || IsScalarList(item); });
}

std::string ListText(const json& list) {
  std::string text;
  for (const json& item : list) text += (text.empty() ? "" : ", ") + ScalarText(item);
  return text;
}

std::string ShortText(const json& value) { return value.is_array() ? ListText(value) : ScalarText(value); }

std::string KeyText(std::string key) {
  std::replace(key.begin(), key.end(), '_', ' ');
  return key;
}

std::string TableText(const json& rows, const std::string& indent) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : rows.front().items()) keys.push_back(key);
  std::vector<std::string> header;
  for (const std::string& key : keys) header.push_back(KeyText(key));
  TextTable table(header);
  for (size_t i = 0; i < keys.size(); ++i) {
    if (rows.front()[keys[i]].is_number()) table.AlignRight(i);
  }
  for (const json& row : rows) {
    std::vector<std::string> cells;
    for (const std::string& key : keys) cells.push_back(row.contains(key) ? ShortText(row[key]) : "");
    table.Add(std::move(cells));
  }
  return table.Render(indent);
}

std::string ObjectText(const json& object, const std::string& indent) {
  size_t width = 0;
  for (const auto& [key, value] : object.items()) width = std::max(width, DisplayWidth(KeyText(key)));
  std::string text;
  for (const auto& [key, value] : object.items()) {
    const bool brief = IsScalar(value) || IsScalarList(value);
    text += brief ? fmt::format("{}{}  {}\n", indent, PadRight(KeyText(key), width), ShortText(value))
                  : fmt::format("{}{}\n{}", indent, KeyText(key), ReadableText(value, indent + "  "));
  }
  return text;
}

}  // namespace

std::string JsonOf(const google::protobuf::Message& message, bool spread, bool complete) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = spread;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = complete;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  if (!status.ok()) return "{}";
  if (text.empty() || text.back() != '\n') text += '\n';
  return PrintableJson(text);
}

std::string JsonText(const json& value) {
  return PrintableJson(value.dump(2, ' ', false, json::error_handler_t::replace)) + "\n";
}

std::string ReadableText(const json& value, const std::string& indent) {
  if (value.is_object()) return ObjectText(value, indent);
  if (IsScalarList(value) && !value.empty()) {
    std::string text;
    for (const json& item : value) text += indent + ScalarText(item) + "\n";
    return text;
  }
  const bool table = value.is_array() && !value.empty() && std::all_of(value.begin(), value.end(), IsFlatObject);
  if (table) return TableText(value, indent);
  std::string text;
  if (!value.is_array()) return indent + ScalarText(value) + "\n";
  for (const json& item : value) text += ReadableText(item, indent) + "\n";
  return text;
}

}  // namespace regroup
