#include "coordinator/main/access_commands.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cstdio>
#include <memory>

#include "coordinator/access/init_folder.h"
#include "coordinator/access/token_file.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr char kAfterInit[] =
    R"(In {0}: authority, coordinator, worker and client, each a certificate (.pem) and a key (.key), and tokens.
Token of "admin", shown only now:

{1}

Keep authority.key away from the network. Start the coordinator with
  regroup-coordinator --listen 0.0.0.0:7447 --tokens {0}/tokens --tls-certificate {0}/coordinator.pem \
    --tls-key {0}/coordinator.key --tls-authority {0}/authority.pem --work-dir FOLDER
and make the workers' token with
  regroup-coordinator token add workers --role worker --tokens {0}/tokens
)";

absl::Status Init(const InitOptions& options) {
  REGROUP_ASSIGN_OR_RETURN(const std::string token, InitFolder(options));
  fmt::print(kAfterInit, options.folder.string(), token);
  return absl::OkStatus();
}

struct TokenOptions {
  std::string file;
  std::string name;
  std::string role;
};

absl::Status Add(const TokenOptions& options) {
  umask(S_IRWXG | S_IRWXO);
  REGROUP_ASSIGN_OR_RETURN(const std::string token, AddToken(options.file, options.name, *RoleFromName(options.role)));
  fmt::print("{}\n", token);
  return absl::OkStatus();
}

absl::Status List(const TokenOptions& options) {
  REGROUP_ASSIGN_OR_RETURN(const std::vector<TokenEntry> tokens, ReadTokens(options.file));
  fmt::print("{:<24}{:<12}{}\n", "NAME", "ROLE", "CREATED");
  for (const TokenEntry& token : tokens) {
    fmt::print("{:<24}{:<12}{}\n", token.name, RoleName(token.role), token.created);
  }
  return absl::OkStatus();
}

void AddInit(CLI::App* app, std::function<absl::Status()>* selected) {
  CLI::App* const command = app->add_subcommand("init", "Create an authority, certificates and the first token");
  const auto options = std::make_shared<InitOptions>();
  command->add_option("--dir", options->folder, "Folder to write them to; must not hold an authority yet")->required();
  command->add_option("--host", options->hosts, "Name or address of the coordinator or a worker; may be repeated");
  command->add_option("--days", options->days, "Days for which the certificates are valid")
      ->check(CLI::Range(1, 3650))
      ->capture_default_str();
  command->callback([=] { *selected = [=] { return Init(*options); }; });
}

void AddTokenCommand(CLI::App* group, const char* name, const char* description,
                     absl::Status (*run)(const TokenOptions&), std::function<absl::Status()>* selected,
                     const std::function<void(CLI::App*, TokenOptions*)>& add_options) {
  CLI::App* const command = group->add_subcommand(name, description);
  const auto options = std::make_shared<TokenOptions>();
  add_options(command, options.get());
  command->add_option("--tokens", options->file, "The coordinator's token file")->required();
  command->callback([=] { *selected = [=] { return run(*options); }; });
}

void AddName(CLI::App* command, TokenOptions* options) {
  command->add_option("name", options->name, "Name of the token's holder")->required();
}

}  // namespace

void AddAccessCommands(CLI::App* app, std::function<absl::Status()>* selected) {
  AddInit(app, selected);
  CLI::App* const group = app->add_subcommand("token", "Manage the tokens of a coordinator's callers");
  group->require_subcommand(1);
  AddTokenCommand(group, "add", "Create a token and print it; it cannot be shown again", Add, selected,
                  [](CLI::App* command, TokenOptions* options) {
                    AddName(command, options);
                    command->add_option("--role", options->role, "viewer, submitter, admin or worker")
                        ->required()
                        ->check(CLI::IsMember({"viewer", "submitter", "admin", "worker"}));
                  });
  AddTokenCommand(group, "list", "List the tokens' names and roles", List, selected, [](CLI::App*, TokenOptions*) {});
  AddTokenCommand(
      group, "remove", "Remove a token; it is rejected from now on",
      [](const TokenOptions& options) { return RemoveToken(options.file, options.name); }, selected, AddName);
}

}  // namespace regroup
