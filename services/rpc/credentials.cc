#include "services/rpc/credentials.h"

#include <fmt/format.h>

#include "services/base/files.h"
#include "services/base/status_macros.h"

namespace regroup {
namespace {

struct TlsTexts {
  std::string certificate;
  std::string private_key;
  std::string certificate_authority;
};

absl::Status CheckComplete(const TlsFiles& tls) {
  if (!tls.certificate.empty() && !tls.private_key.empty() && !tls.certificate_authority.empty()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      "TLS needs three files: give --tls-certificate, --tls-key and --tls-authority together");
}

absl::StatusOr<TlsTexts> ReadTls(const TlsFiles& tls) {
  REGROUP_RETURN_IF_ERROR(CheckComplete(tls));
  TlsTexts texts;
  REGROUP_ASSIGN_OR_RETURN(texts.certificate, ReadFile(tls.certificate));
  REGROUP_ASSIGN_OR_RETURN(texts.private_key, ReadFile(tls.private_key));
  REGROUP_ASSIGN_OR_RETURN(texts.certificate_authority, ReadFile(tls.certificate_authority));
  return texts;
}

absl::Status NeedsTls(const std::string& address) {
  return absl::FailedPreconditionError(fmt::format(
      "{} can be reached from other machines and so needs mutual TLS: give --tls-certificate, --tls-key and "
      "--tls-authority, or use 127.0.0.1",
      address));
}

}  // namespace

bool IsLocalAddress(std::string_view address) {
  for (const std::string_view prefix : {"unix:", "localhost:", "[::1]:"}) {
    if (address.substr(0, prefix.size()) == prefix) return true;
  }
  // "127." alone could begin a host's name.
  const std::string_view host = address.substr(0, address.rfind(':'));
  return host.substr(0, 4) == "127." && host.find_first_not_of("0123456789.") == std::string_view::npos;
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const std::string& address,
                                                                               const TlsFiles& tls) {
  if (!tls.IsSet()) {
    if (!IsLocalAddress(address)) return NeedsTls(address);
    return grpc::InsecureServerCredentials();
  }
  REGROUP_ASSIGN_OR_RETURN(const TlsTexts texts, ReadTls(tls));
  grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = texts.certificate_authority;
  options.pem_key_cert_pairs.push_back({texts.private_key, texts.certificate});
  return grpc::SslServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(const std::string& address,
                                                                                 const TlsFiles& tls) {
  if (!tls.IsSet()) {
    if (!IsLocalAddress(address)) return NeedsTls(address);
    return grpc::InsecureChannelCredentials();
  }
  REGROUP_ASSIGN_OR_RETURN(const TlsTexts texts, ReadTls(tls));
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = texts.certificate_authority;
  options.pem_private_key = texts.private_key;
  options.pem_cert_chain = texts.certificate;
  return grpc::SslCredentials(options);
}

}  // namespace regroup
