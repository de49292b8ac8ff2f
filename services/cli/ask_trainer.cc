#include "services/cli/ask_trainer.h"

#include <fmt/format.h>

#include <sstream>

#include "services/base/status_macros.h"
#include "services/cli/child_process.h"

namespace regroup {
namespace {

/// The reason in what the trainer wrote to standard error: its last log message, or else its first line.
std::string ReasonIn(const std::string& standard_error) {
  std::istringstream lines(standard_error);
  std::string first;
  std::string message;
  for (std::string line; std::getline(lines, line);) {
    if (first.empty()) first = line;
    const auto entry = nlohmann::json::parse(line, nullptr, false);
    const bool is_log = entry.is_object() && entry.contains("message") && entry["message"].is_string();
    if (is_log) message = entry["message"].get<std::string>();
  }
  return message.empty() ? first : message;
}

}  // namespace

absl::StatusOr<nlohmann::json> AskTrainer(const std::vector<std::string>& arguments) {
  REGROUP_ASSIGN_OR_RETURN(const auto trainer, SiblingProgram("regroup-trainer"));
  REGROUP_ASSIGN_OR_RETURN(const Output output, RunToEnd(trainer, arguments));
  if (output.exit_status != 0) {
    const std::string message = ReasonIn(output.standard_error);
    return absl::InvalidArgumentError(
        message.empty() ? fmt::format("regroup-trainer ended with exit status {}", output.exit_status) : message);
  }
  nlohmann::json answer = nlohmann::json::parse(output.standard_output, nullptr, false);
  if (answer.is_discarded()) return absl::InternalError("regroup-trainer wrote something that is not JSON");
  return answer;
}

}  // namespace regroup
