// Credentials by address: plain text on this machine, mutual TLS everywhere else.
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace regroup {

/// Files in PEM format. All three or none: both sides of a connection authenticate.
struct TlsFiles {
  std::string certificate;
  std::string private_key;
  std::string certificate_authority;
  /// Interval at which the files are read again. New connections use their new content; no restart is needed. Replace
  /// key and certificate by rename, within this time of each other.
  std::chrono::seconds reload_interval{10};

  bool IsSet() const { return !certificate.empty() || !private_key.empty() || !certificate_authority.empty(); }
};

/// Returns true if only this machine can reach the address: "unix:...", "127.x.x.x:port", "[::1]:port",
/// "localhost:port".
bool IsLocalAddress(std::string_view address);

/// Checks the files and names one that cannot be used; gRPC would wait for it silently. NOT_FOUND and similar errors
/// name the file; INVALID_ARGUMENT if a certificate and a key do not belong together, or one of the three is not given.
absl::Status CheckTlsFiles(const TlsFiles& tls);

/// Returns a server's credentials. FAILED_PRECONDITION for an address that other machines can reach if `tls` is not
/// set; NOT_FOUND and similar errors name the file; INVALID_ARGUMENT if a certificate and a key do not belong together.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const std::string& address,
                                                                               const TlsFiles& tls);
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(const std::string& address,
                                                                                 const TlsFiles& tls);

}  // namespace regroup
