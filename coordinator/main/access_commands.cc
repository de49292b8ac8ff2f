#include "coordinator/main/access_commands.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <memory>

#include "coordinator/access/init_folder.h"
#include "coordinator/access/token_file.h"
#include "coordinator/access/worker_binding.h"
#include "services/common/base/paths.h"
#include "services/common/base/private_files.h"
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
and make a token for each worker, by the worker's --id, with
  regroup-coordinator token add ID --role worker --tokens {0}/tokens --output {0}/ID.token
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
  std::string worker;
  std::string worker_prefix;
  std::string output;
};

absl::Status Add(const TokenOptions& options) {
  REGROUP_ASSIGN_OR_RETURN(const std::string worker, MakeWorkerBinding(options.worker, options.worker_prefix));
  if (!options.output.empty() && Exists(options.output)) {
    return absl::AlreadyExistsError(fmt::format("{} exists already; choose another --output", options.output));
  }
  const bool is_new = !Exists(options.file);
  REGROUP_ASSIGN_OR_RETURN(const std::string token,
                           AddToken(options.file, options.name, *RoleFromName(options.role), worker));
  if (is_new) fmt::print(stderr, "created {}; this is its only token\n", options.file);
  if (options.output.empty()) {
    fmt::print("{}\n", token);
    return absl::OkStatus();
  }
  const absl::Status status = WritePrivateFile(options.output, token + "\n");
  // Nobody has seen a token that could not be written.
  if (!status.ok()) REGROUP_RETURN_IF_ERROR(RemoveToken(options.file, options.name));
  return status;
}

absl::Status Bind(const TokenOptions& options) {
  REGROUP_ASSIGN_OR_RETURN(const std::string worker, MakeWorkerBinding(options.worker, options.worker_prefix));
  if (worker.empty()) return absl::InvalidArgumentError("give --worker or --worker-prefix");
  return BindToken(options.file, options.name, worker);
}

absl::Status List(const TokenOptions& options) {
  REGROUP_ASSIGN_OR_RETURN(const std::vector<TokenEntry> tokens, ReadTokens(options.file));
  fmt::print("{:<24}{:<12}{:<24}{}\n", "NAME", "ROLE", "CREATED", "WORKER");
  for (const TokenEntry& token : tokens) {
    fmt::print("{:<24}{:<12}{:<24}{}\n", token.name, RoleName(token.role), token.created, BoundWorker(token));
  }
  return absl::OkStatus();
}

void AddInit(CLI::App* app, std::function<absl::Status()>* selected) {
  CLI::App* const command = app->add_subcommand("init", "Create an authority, certificates and the first token");
  const auto options = std::make_shared<InitOptions>();
  command->add_option("--dir", options->folder, "Folder to write them to; must not hold an authority yet")->required();
  command->add_option("--host", options->hosts, "Name or address of the coordinator; may be repeated");
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

void AddBinding(CLI::App* command, TokenOptions* options) {
  command->add_option("--worker", options->worker, "Id of the worker that the token is for; default: the token's name");
  command->add_option("--worker-prefix", options->worker_prefix,
                      "Beginning of the ids of all workers that share the token, for sets that grow and shrink");
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
                    command->add_option("--output", options->output,
                                        "File to write the token to, readable by its owner only; default: print it");
                    AddBinding(command, options);
                  });
  AddTokenCommand(group, "bind", "Bind a worker's token to other workers; the token itself stays", Bind, selected,
                  [](CLI::App* command, TokenOptions* options) {
                    AddName(command, options);
                    AddBinding(command, options);
                  });
  AddTokenCommand(group, "list", "List the tokens' names and roles", List, selected, [](CLI::App*, TokenOptions*) {});
  AddTokenCommand(
      group, "remove", "Remove a token; it is rejected from now on",
      [](const TokenOptions& options) { return RemoveToken(options.file, options.name); }, selected, AddName);
}

}  // namespace regroup
