#include <fmt/format.h>

#include <memory>

#include "services/cli/commands.h"

namespace regroup {
namespace {

std::string OptionNames(const CLI::App& app) {
  std::string names;
  for (const CLI::Option* option : app.get_options()) {
    // --help does not show an option without a group.
    if (option->get_group().empty()) continue;
    for (const std::string& name : option->get_lnames()) names += " --" + name;
  }
  return names;
}

}  // namespace

std::string CompletionScript(const CLI::App& app, const std::string& shell) {
  const std::string everywhere = OptionNames(app);
  std::string names, cases;
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    names += (names.empty() ? "" : " ") + command->get_name();
    cases += fmt::format("    {}) words=\"{}{}\" ;;\n", command->get_name(), OptionNames(*command), everywhere);
  }
  std::string alternatives = names;
  for (char& c : alternatives) c = c == ' ' ? '|' : c;
  const std::string preamble = shell == "zsh" ? "autoload -U +X bashcompinit && bashcompinit\n" : "";
  return preamble + fmt::format(R"(_regroup() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} command= words= word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case $word in {0}) command=$word; break ;; esac
  done
  case $command in
    "") words="{1}{2}" ;;
{3}  esac
  if [[ $current == -* || -z $command ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  else
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}}
complete -o filenames -F _regroup regroup
)",
                                alternatives, names, everywhere, cases);
}

void AddCompletionCommand(CLI::App& app, CommandLine& line) {
  CLI::App* const command = app.add_subcommand("completion", "Print a completion script for your shell");
  const auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "bash or zsh")->required()->check(CLI::IsMember({"bash", "zsh"}));
  command->footer("bash: source <(regroup completion bash)    zsh: source <(regroup completion zsh)");
  command->callback([&app, &line, shell] {
    line.selected = [&app, shell](const CommandLine&) {
      Print(CompletionScript(app, *shell));
      return kExitDone;
    };
  });
}

}  // namespace regroup
