#include "coordinator/access/init_folder.h"

#include <fmt/format.h>

#include "coordinator/access/token_file.h"
#include "services/common/base/hardware_names.h"
#include "services/common/base/paths.h"
#include "services/common/base/private_files.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/certificates.h"
#include "services/common/rpc/worker_channel.h"

namespace regroup {
namespace {

constexpr char kAuthority[] = "authority";
constexpr char kFirstAdmin[] = "admin";
/// The authority is valid for longer than certificates: a new one must be distributed to every machine.
constexpr int kAuthorityYears = 10;

std::vector<std::string> AllHosts(const std::vector<std::string>& given) {
  std::vector<std::string> hosts = {"localhost", "127.0.0.1", "::1", HostName()};
  hosts.insert(hosts.end(), given.begin(), given.end());
  return hosts;
}

absl::Status WritePair(const std::filesystem::path& folder, const std::string& name, const CertificatePair& pair) {
  REGROUP_RETURN_IF_ERROR(WritePrivateFile(folder / (name + ".key"), pair.private_key));
  return WritePrivateFile(folder / (name + ".pem"), pair.certificate);
}

}  // namespace

absl::StatusOr<std::string> InitFolder(const InitOptions& options) {
  REGROUP_RETURN_IF_ERROR(MakePrivateFolder(options.folder));
  if (Exists(options.folder / (std::string(kAuthority) + ".key"))) {
    return absl::AlreadyExistsError(
        fmt::format("{} already holds an authority; choose another --dir", options.folder.string()));
  }
  REGROUP_ASSIGN_OR_RETURN(
      const CertificatePair authority,
      MakeAuthority({.name = "Regroup authority", .not_after = std::chrono::hours(24 * 365 * kAuthorityYears)}));
  // Workers serve one another under a name of their own, so that they cannot play the coordinator.
  const std::vector<CertificateRequest> requests = {
      {.name = "coordinator", .hosts = AllHosts(options.hosts), .use = CertificateUse::kServer},
      {.name = "worker", .hosts = {kWorkerName}, .use = CertificateUse::kServerAndClient},
      {.name = "client", .use = CertificateUse::kClient}};
  for (CertificateRequest request : requests) {
    request.not_after = std::chrono::hours(24) * options.days;
    REGROUP_ASSIGN_OR_RETURN(const CertificatePair pair, SignCertificate(authority, request));
    REGROUP_RETURN_IF_ERROR(WritePair(options.folder, request.name, pair));
  }
  REGROUP_RETURN_IF_ERROR(WritePair(options.folder, kAuthority, authority));
  return AddToken(options.folder / "tokens", kFirstAdmin, Role::kAdmin);
}

}  // namespace regroup
