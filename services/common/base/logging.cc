#include "services/common/base/logging.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

#include <nlohmann/json.hpp>

#include "services/common/base/log_context.h"
#include "services/common/base/printable_text.h"
#include "services/common/base/trace_parent.h"

namespace regroup {
namespace {

std::string g_component;
std::string g_context_key;
std::string g_context_value;
LogFormat g_format = LogFormat::kText;

std::string_view SeverityName(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::debug:
      return "DEBUG";
    case spdlog::level::warn:
      return "WARNING";
    case spdlog::level::err:
      return "ERROR";
    default:
      return "INFO";
  }
}

std::string Timestamp() {
  const auto now = std::chrono::system_clock::now();
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count();
  const std::time_t seconds = micros / 1000000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[40];
  const size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text + length, sizeof text - length, ".%06dZ", static_cast<int>(micros % 1000000));
  return text;
}

/// Cuts long fields: a field identifies what a line is about, so a megabyte of it is useless.
std::string_view Shortened(std::string_view value) {
  constexpr size_t kLongestField = 16 * 1024;
  return value.substr(0, kLongestField);
}

/// Returns true for a field that a line does without: most jobs belong to no trace.
bool IsLeftOut(const LogField& field) { return field.key == kTraceparentKey && field.value.empty(); }

void Log(spdlog::level::level_enum level, std::string_view message, LogFields fields) {
  spdlog::logger* logger = spdlog::default_logger_raw();
  if (!logger->should_log(level)) return;
  if (g_format == LogFormat::kText) {
    // Each entry starts a line: further lines of a message are indented, and a field stays on its line.
    std::string line = PrintableText(message, "\n    ");
    for (const LogField& field : fields) {
      if (!IsLeftOut(field)) line += " " + field.key + "=" + PrintableText(Shortened(field.value));
    }
    logger->log(level, spdlog::string_view_t(line.data(), line.size()));
    return;
  }
  nlohmann::ordered_json entry;
  entry["time"] = Timestamp();
  entry["severity"] = SeverityName(level);
  entry["component"] = g_component;
  entry["message"] = message;
  for (const LogField& field : fields) {
    if (!IsLeftOut(field)) entry[field.key] = Shortened(field.value);
  }
  if (!g_context_key.empty()) entry[g_context_key] = g_context_value;
  const std::string line = PrintableJson(entry.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  logger->log(level, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace

void InitLogging(std::string_view component, LogFormat format, std::string_view minimum) {
  g_component = component;
  g_format = format;
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  auto logger = std::make_shared<spdlog::logger>(std::string(component), sink);
  logger->set_pattern(format == LogFormat::kJson ? "%v" : "%H:%M:%S %^%l%$ %n: %v");
  logger->set_level(spdlog::level::from_str(std::string(minimum)));
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(logger);
}

void SetLogContext(std::string key, std::string value) {
  g_context_key = std::move(key);
  g_context_value = std::move(value);
}

void LogDebug(std::string_view message, LogFields fields) { Log(spdlog::level::debug, message, fields); }
void LogInfo(std::string_view message, LogFields fields) { Log(spdlog::level::info, message, fields); }
void LogWarning(std::string_view message, LogFields fields) { Log(spdlog::level::warn, message, fields); }
void LogError(std::string_view message, LogFields fields) { Log(spdlog::level::err, message, fields); }

}  // namespace regroup
