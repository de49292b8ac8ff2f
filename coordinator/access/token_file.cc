#include "coordinator/access/token_file.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <sstream>

#include "coordinator/access/worker_binding.h"
#include "services/common/base/file_lock.h"
#include "services/common/base/files.h"
#include "services/common/base/input_file.h"
#include "services/common/base/private_files.h"
#include "services/common/base/random_bytes.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr size_t kTokenBytes = 32;
constexpr size_t kLongestName = 63;
constexpr char kTokenPrefix[] = "rg-";
constexpr char kHeading[] =
    "# Who may call the coordinator: NAME ROLE SHA256-OF-THE-TOKEN TIME [WORKER]. Written by `regroup-coordinator "
    "token`.\n";

using Tokens = std::vector<TokenEntry>;

bool IsDigest(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

absl::Status CheckBinding(Role role, const std::string& worker) {
  if (worker.empty()) return absl::OkStatus();
  if (role != Role::kWorker) return absl::InvalidArgumentError("only tokens with the role worker are bound to workers");
  if (IsWorkerBinding(worker)) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("\"{}\" is neither a worker's id nor a prefix with *", worker));
}

absl::StatusOr<TokenEntry> ParseLine(const std::string& line) {
  std::istringstream words(line);
  TokenEntry entry;
  std::string role;
  std::string rest;
  words >> entry.name >> role >> entry.digest >> entry.created >> entry.worker;
  const std::optional<Role> known = RoleFromName(role);
  if (!IsCallerName(entry.name) || !known || !IsDigest(entry.digest) || words >> rest) {
    return absl::InvalidArgumentError("the line is not NAME ROLE SHA256 TIME [WORKER]");
  }
  entry.role = *known;
  REGROUP_RETURN_IF_ERROR(CheckBinding(entry.role, entry.worker));
  return entry;
}

std::string FormatTokens(const Tokens& tokens) {
  std::string text = kHeading;
  for (const TokenEntry& entry : tokens) {
    text += fmt::format("{} {} {} {}{}{}\n", entry.name, RoleName(entry.role), entry.digest, entry.created,
                        entry.worker.empty() ? "" : " ", entry.worker);
  }
  return text;
}

std::string Now() { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))); }

/// Changes the token file under its lock. A missing file counts as empty if it may be new.
absl::Status ChangeTokens(const std::filesystem::path& file, bool may_be_new,
                          const std::function<absl::Status(Tokens&)>& change) {
  REGROUP_ASSIGN_OR_RETURN(const FileLock lock, FileLock::Take(file.string() + ".lock"));
  absl::StatusOr<Tokens> tokens = ReadTokens(file);
  if (!tokens.ok() && !(may_be_new && absl::IsNotFound(tokens.status()))) return tokens.status();
  Tokens changed = tokens.ok() ? *std::move(tokens) : Tokens();
  REGROUP_RETURN_IF_ERROR(change(changed));
  return WritePrivateFile(file, FormatTokens(changed));
}

auto Named(const std::string& name) {
  return [&name](const TokenEntry& entry) { return entry.name == name; };
}

absl::Status NoToken(const std::filesystem::path& file, const std::string& name) {
  return absl::NotFoundError(fmt::format("{} has no token \"{}\"", file.string(), name));
}

}  // namespace

bool IsCallerName(std::string_view name) {
  return !name.empty() && name.size() <= kLongestName && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
}

std::string BoundWorker(const TokenEntry& token) {
  if (token.role != Role::kWorker) return "";
  return token.worker.empty() ? token.name : token.worker;
}

absl::StatusOr<Tokens> ReadTokens(const std::filesystem::path& file) {
  // A FIFO would keep every call waiting.
  REGROUP_ASSIGN_OR_RETURN(const std::string content, ReadInput(file));
  std::istringstream lines(content);
  Tokens tokens;
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    if (line.empty() || line.front() == '#') continue;
    absl::StatusOr<TokenEntry> entry = ParseLine(line);
    if (!entry.ok()) {
      return absl::InvalidArgumentError(
          fmt::format("{}:{}: {}", file.string(), number, std::string(entry.status().message())));
    }
    tokens.push_back(*std::move(entry));
  }
  return tokens;
}

absl::StatusOr<std::string> AddToken(const std::filesystem::path& file, const std::string& name, Role role,
                                     const std::string& worker) {
  if (!IsCallerName(name)) {
    return absl::InvalidArgumentError(fmt::format("\"{}\" is not a token name; {}", name, kFormOfCallerName));
  }
  REGROUP_RETURN_IF_ERROR(CheckBinding(role, worker));
  REGROUP_ASSIGN_OR_RETURN(const std::string secret, RandomHex(kTokenBytes));
  const std::string token = kTokenPrefix + secret;
  REGROUP_RETURN_IF_ERROR(ChangeTokens(file, /*may_be_new=*/true, [&](Tokens& tokens) {
    if (std::any_of(tokens.begin(), tokens.end(), Named(name))) {
      return absl::AlreadyExistsError(
          fmt::format("{} already has a token \"{}\"; remove it first or choose another name", file.string(), name));
    }
    tokens.push_back({name, role, Sha256Of(token), Now(), worker});
    return absl::OkStatus();
  }));
  return token;
}

absl::Status BindToken(const std::filesystem::path& file, const std::string& name, const std::string& worker) {
  return ChangeTokens(file, /*may_be_new=*/false, [&](Tokens& tokens) {
    const auto token = std::find_if(tokens.begin(), tokens.end(), Named(name));
    if (token == tokens.end()) return NoToken(file, name);
    REGROUP_RETURN_IF_ERROR(CheckBinding(token->role, worker));
    token->worker = worker;
    return absl::OkStatus();
  });
}

absl::Status RemoveToken(const std::filesystem::path& file, const std::string& name) {
  return ChangeTokens(file, /*may_be_new=*/false, [&](Tokens& tokens) {
    return std::erase_if(tokens, Named(name)) > 0 ? absl::OkStatus() : NoToken(file, name);
  });
}

}  // namespace regroup
