#include "services/cli/model_commands.h"

#include <fmt/format.h>

#include <memory>
#include <sstream>
#include <vector>

#include <nlohmann/json.hpp>

#include "services/base/status_macros.h"
#include "services/cli/child_process.h"
#include "services/cli/json_text.h"
#include "services/cli/log_tail.h"

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

/// What the trainer answers. INVALID_ARGUMENT with its own message where it refuses.
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

ExitCode Show(const std::vector<std::string>& arguments, const CommandLine& line) {
  const auto answer = AskTrainer(arguments);
  if (!answer.ok()) return PrintError(answer.status(), line.json);
  Print(line.json ? answer->dump(2) + "\n" : ReadableText(*answer));
  return kExitDone;
}

}  // namespace

void AddModelCommands(CLI::App& app, CommandLine& line) {
  app.add_subcommand("families", "List the model families that can be converted")->callback([&line] {
    line.selected = [](const CommandLine& chosen) { return Show({"--families"}, chosen); };
  });
  CLI::App* const inspect =
      app.add_subcommand("inspect", "Show what a checkpoint holds and whether it can be converted");
  const auto folder = std::make_shared<std::string>();
  inspect->add_option("folder", *folder, "A Hugging Face folder")->required();
  inspect->callback([&line, folder] {
    line.selected = [folder](const CommandLine& chosen) { return Show({"--inspect", *folder}, chosen); };
  });
}

}  // namespace regroup
