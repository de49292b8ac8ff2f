#include "services/worker/logs/log_line.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <array>
#include <string>

#include <nlohmann/json.hpp>

#include "services/common/base/bounded_json.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

/// Longer messages are cut: a log line is for reading.
constexpr size_t kLongestMessage = 16 * 1024;

/// Keys that have a field of their own, or say what the entry's place says already.
constexpr std::array<std::string_view, 8> kKnownKeys = {"message", "severity", "time", "component",
                                                        "rank",    "job",      "task", "epoch"};

v1::LogSeverity SeverityOf(std::string_view name, v1::LogSeverity otherwise) {
  if (name == "DEBUG") return v1::LOG_SEVERITY_DEBUG;
  if (name == "INFO") return v1::LOG_SEVERITY_INFO;
  if (name == "WARNING") return v1::LOG_SEVERITY_WARNING;
  if (name == "ERROR") return v1::LOG_SEVERITY_ERROR;
  return otherwise;
}

/// As JSON text the replacement of invalid UTF-8 comes for free.
std::string ValidUtf8(std::string_view text) {
  const std::string quoted = Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
  return Json::parse(quoted).get<std::string>();
}

std::string TextOf(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// The message, and what other keys say, in the order they were written.
std::string MessageOf(const Json& object) {
  std::string message = TextOf(object["message"]);
  for (const auto& [key, value] : object.items()) {
    if (std::find(kKnownKeys.begin(), kKnownKeys.end(), key) != kKnownKeys.end()) continue;
    message += " " + key + "=" + TextOf(value);
  }
  return message;
}

std::string StringAt(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

void FillFromJson(const Json& object, v1::LogEntry& entry) {
  entry.set_severity(SeverityOf(StringAt(object, "severity"), entry.severity()));
  google::protobuf::Timestamp time;
  if (google::protobuf::util::TimeUtil::FromString(StringAt(object, "time"), &time)) *entry.mutable_time() = time;
  entry.set_message(MessageOf(object));
}

}  // namespace

v1::LogEntry ParseLogLine(std::string_view line, LogStream stream, int rank) {
  v1::LogEntry entry;
  entry.set_severity(stream == LogStream::kStdout ? v1::LOG_SEVERITY_INFO : v1::LOG_SEVERITY_WARNING);
  entry.set_rank(rank);
  *entry.mutable_time() = google::protobuf::util::TimeUtil::GetCurrentTime();
  const std::string text = ValidUtf8(line);
  const bool may_be_json = text.starts_with("{") && JsonDepth(text) <= kMaxJsonDepth;
  const Json object = may_be_json ? Json::parse(text, nullptr, false) : Json();
  if (object.is_object() && object.contains("message")) {
    FillFromJson(object, entry);
  } else {
    entry.set_message(text);
  }
  if (entry.message().size() > kLongestMessage)
    entry.set_message(ValidUtf8(entry.message().substr(0, kLongestMessage)));
  return entry;
}

}  // namespace regroup
