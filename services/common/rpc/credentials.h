// Who may talk over which address: plain text on this machine, mutual TLS everywhere else.
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace regroup {

/// Files in PEM format. All three or none: both sides of a connection prove who they are.
struct TlsFiles {
  std::string certificate;
  std::string private_key;
  std::string certificate_authority;
  /// How often the files are looked at again. New connections use what they hold then; no restart is needed. Replace
  /// key and certificate by rename, within this time of each other.
  std::chrono::seconds reload_interval{10};

  bool IsSet() const { return !certificate.empty() || !private_key.empty() || !certificate_authority.empty(); }
};

/// Whether nothing outside this machine can reach the address: "unix:...", "127.x.x.x:port", "[::1]:port",
/// "localhost:port".
bool IsLocalAddress(std::string_view address);

/// FAILED_PRECONDITION for an address that others can reach when `tls` is not set; NOT_FOUND and the like name the
/// file; INVALID_ARGUMENT where a certificate and a key do not belong together.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const std::string& address,
                                                                               const TlsFiles& tls);
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(const std::string& address,
                                                                                 const TlsFiles& tls);

}  // namespace regroup
