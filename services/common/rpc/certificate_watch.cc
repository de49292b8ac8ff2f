#include "services/common/rpc/certificate_watch.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/rpc/certificates.h"

namespace regroup {
namespace {

constexpr std::chrono::hours kSoon(24 * 14);

std::optional<CertificateWatch::Expiry> ExpiryOf(const TlsFiles& files) {
  std::optional<CertificateWatch::Expiry> first;
  for (const std::string& file : {files.certificate, files.certificate_authority}) {
    const absl::StatusOr<std::string> pem = ReadFile(file);
    const auto expiry = pem.ok() ? NotAfter(*pem) : std::nullopt;
    if (!expiry) return std::nullopt;
    first = std::min(first.value_or(*expiry), *expiry);
  }
  return first;
}

}  // namespace

CertificateWatch::CertificateWatch(TlsFiles files, Observer observer)
    : files_(std::move(files)), observer_(std::move(observer)) {
  if (!files_.IsSet()) return;
  seen_ = Look();
  Report();
  ticker_.emplace(files_.reload_interval, [this] { ReportIfChanged(); });
}

CertificateWatch::Versions CertificateWatch::Look() const {
  const std::array<std::string, 3> paths = {files_.certificate, files_.private_key, files_.certificate_authority};
  Versions versions{};
  for (size_t i = 0; i < paths.size(); ++i) {
    struct stat file {};
    if (stat(paths[i].c_str(), &file) == 0) versions[i] = FileVersion(file);
  }
  return versions;
}

void CertificateWatch::Report() {
  const absl::Status status = CheckTlsFiles(files_);
  const std::optional<Expiry> expiry = ExpiryOf(files_);
  observer_(status, expiry);
  was_usable_ = status.ok();
  if (!status.ok()) {
    LogError("the certificates cannot be used; new connections fail until their files are repaired",
             {{"reason", std::string(status.message())}});
  } else if (expiry && *expiry < std::chrono::system_clock::now() + kSoon) {
    LogWarning("a certificate expires soon, or has expired; no connection can be made afterwards",
               {{"certificate", files_.certificate},
                {"authority", files_.certificate_authority},
                {"expires", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(*expiry))}});
  }
}

void CertificateWatch::ReportIfChanged() {
  const Versions now = Look();
  if (now == seen_) return;
  seen_ = now;
  Report();
  if (was_usable_) LogInfo("certificates reloaded", {{"certificate", files_.certificate}});
}

}  // namespace regroup
