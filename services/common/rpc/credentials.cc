#include "services/common/rpc/credentials.h"

#include <fmt/format.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/certificates.h"
#include "services/common/rpc/server_verifier.h"

namespace regroup {
namespace {

using grpc::experimental::FileWatcherCertificateProvider;

absl::Status CheckComplete(const TlsFiles& tls) {
  if (!tls.certificate.empty() && !tls.private_key.empty() && !tls.certificate_authority.empty()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      "TLS needs three files: give --tls-certificate, --tls-key and --tls-authority together");
}

template <typename Options>
void Watch(const std::shared_ptr<FileWatcherCertificateProvider>& provider, Options* options) {
  options->set_certificate_provider(provider);
  options->watch_root_certs();
  options->watch_identity_key_cert_pairs();
}

absl::StatusOr<std::shared_ptr<FileWatcherCertificateProvider>> MakeProvider(const TlsFiles& tls) {
  REGROUP_RETURN_IF_ERROR(CheckTlsFiles(tls));
  return std::make_shared<FileWatcherCertificateProvider>(tls.private_key, tls.certificate, tls.certificate_authority,
                                                          static_cast<unsigned>(tls.reload_interval.count()));
}

absl::Status NeedsTls(const std::string& address) {
  return absl::FailedPreconditionError(fmt::format(
      "{} can be reached from other machines and so needs mutual TLS: give --tls-certificate, --tls-key and "
      "--tls-authority, or use 127.0.0.1",
      address));
}

}  // namespace

absl::Status CheckTlsFiles(const TlsFiles& tls) {
  REGROUP_RETURN_IF_ERROR(CheckComplete(tls));
  REGROUP_ASSIGN_OR_RETURN(const std::string certificate, ReadFile(tls.certificate));
  REGROUP_ASSIGN_OR_RETURN(const std::string key, ReadFile(tls.private_key));
  REGROUP_ASSIGN_OR_RETURN(const std::string authority, ReadFile(tls.certificate_authority));
  if (!IsCertificate(certificate)) {
    return absl::InvalidArgumentError(fmt::format("--tls-certificate {} holds no certificate", tls.certificate));
  }
  if (!IsCertificate(authority)) {
    return absl::InvalidArgumentError(
        fmt::format("--tls-authority {} holds no certificate", tls.certificate_authority));
  }
  if (!KeyFits(certificate, key)) {
    return absl::InvalidArgumentError(
        fmt::format("--tls-key {} is not the key of {}", tls.private_key, tls.certificate));
  }
  return absl::OkStatus();
}

bool IsLocalAddress(std::string_view address) {
  for (const std::string_view prefix : {"unix:", "localhost:", "[::1]:"}) {
    if (address.substr(0, prefix.size()) == prefix) return true;
  }
  // A host name could also begin with "127.".
  const std::string_view host = address.substr(0, address.rfind(':'));
  return host.substr(0, 4) == "127." && host.find_first_not_of("0123456789.") == std::string_view::npos;
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const std::string& address,
                                                                               const TlsFiles& tls) {
  if (!tls.IsSet()) {
    if (!IsLocalAddress(address)) return NeedsTls(address);
    return grpc::InsecureServerCredentials();
  }
  REGROUP_ASSIGN_OR_RETURN(const auto provider, MakeProvider(tls));
  grpc::experimental::TlsServerCredentialsOptions options(provider);
  Watch(provider, &options);
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  return grpc::experimental::TlsServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(const std::string& address,
                                                                                 const TlsFiles& tls) {
  if (!tls.IsSet()) {
    if (!IsLocalAddress(address)) return NeedsTls(address);
    return grpc::InsecureChannelCredentials();
  }
  REGROUP_ASSIGN_OR_RETURN(const auto provider, MakeProvider(tls));
  grpc::experimental::TlsChannelCredentialsOptions options;
  Watch(provider, &options);
  options.set_certificate_verifier(MakeServerVerifier());
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace regroup
