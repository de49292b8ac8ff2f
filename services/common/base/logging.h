// Structured logs on standard error: one JSON object per line, or plain text for people.
//
// Keys: time (RFC 3339), severity, message, component, and the fields given, such as job, task, epoch, rank.
// Every function may be called from any thread once InitLogging has returned.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace regroup {

enum class LogFormat { kJson, kText };

/// Sets the component's name and the format; lines below `minimum` ("debug", "info", "warning", "error") are dropped.
void InitLogging(std::string_view component, LogFormat format, std::string_view minimum = "info");

/// A key and its value, formatted as text.
struct LogField {
  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const char* v) : key(k), value(v) {}
  LogField(std::string_view k, const std::string& v) : key(k), value(v) {}
  template <typename Number>
  requires std::is_arithmetic_v<Number> LogField(std::string_view k, Number v) : key(k), value(std::to_string(v)) {}
  std::string key;
  std::string value;
};
using LogFields = std::initializer_list<LogField>;

void LogDebug(std::string_view message, LogFields fields = {});
void LogInfo(std::string_view message, LogFields fields = {});
void LogWarning(std::string_view message, LogFields fields = {});
void LogError(std::string_view message, LogFields fields = {});

}  // namespace regroup
