#include <fmt/format.h>

#include <memory>
#include <vector>

#include "services/cli/commands.h"
#include "services/cli/json_text.h"
#include "services/cli/printable.h"
#include "services/common/programs/ask_trainer.h"

namespace regroup {
namespace {

ExitCode Show(const std::vector<std::string>& arguments, const CommandLine& line) {
  const auto answer = AskTrainer(arguments);
  if (!answer.ok()) return PrintError(answer.status(), line.json);
  Print(line.json ? JsonText(*answer) : ReadableText(Printable(*answer)));
  return kExitDone;
}

void AddAdapterCommand(CLI::App& app, CommandLine& line) {
  struct Folders {
    std::string adapter, result, output;
  };
  CLI::App* const command =
      app.add_subcommand("adapter", "Carry a LoRA adapter of the source over to a converted model");
  const auto folders = std::make_shared<Folders>();
  command->add_option("--source-adapter", folders->adapter, "The adapter, as PEFT saved it")->required();
  command->add_option("--result", folders->result, "The converted model")->required();
  command->add_option("--output", folders->output, "The folder to write, which must not exist")->required();
  command->callback([&line, folders] {
    line.selected = [folders](const CommandLine& chosen) {
      return Show({"--source-adapter", folders->adapter, "--result", folders->result, "--output", folders->output},
                  chosen);
    };
  });
}

}  // namespace

void AddModelCommands(CLI::App& app, CommandLine& line) {
  app.add_subcommand("families", "List the model families that can be converted")->callback([&line] {
    line.selected = [](const CommandLine& chosen) { return Show({"--families"}, chosen); };
  });
  AddAdapterCommand(app, line);
  CLI::App* const inspect =
      app.add_subcommand("inspect", "Show what a checkpoint holds and whether it can be converted");
  const auto folder = std::make_shared<std::string>();
  inspect->add_option("folder", *folder, "A Hugging Face folder")->required();
  inspect->callback([&line, folder] {
    line.selected = [folder](const CommandLine& chosen) { return Show({"--inspect", *folder}, chosen); };
  });
}

}  // namespace regroup
