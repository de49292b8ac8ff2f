// X.509 certificates for mutual TLS: creates an authority and certificates, and checks PEM texts.
//
// Keys are on the curve P-256. Functions may be called from any thread; errors are INTERNAL with OpenSSL's reason.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace regroup {

/// A certificate and its private key, both PEM.
struct CertificatePair {
  std::string certificate;
  std::string private_key;
};

/// Uses of a certificate, as its extended key usage names them.
enum class CertificateUse { kServer, kClient, kServerAndClient };

struct CertificateRequest {
  /// The subject's common name.
  std::string name;
  /// Host names and IP addresses of a server; empty for a client.
  std::vector<std::string> hosts;
  CertificateUse use = CertificateUse::kServerAndClient;
  /// Relative to now; may be in the past, for tests.
  std::chrono::hours not_before{-1};
  std::chrono::hours not_after{24 * 365};
};

/// Returns a new self-signed authority.
absl::StatusOr<CertificatePair> MakeAuthority(const CertificateRequest& request);

/// Returns a new pair signed by `authority`.
absl::StatusOr<CertificatePair> SignCertificate(const CertificatePair& authority, const CertificateRequest& request);

/// Returns true if the text begins with a valid certificate in PEM format.
bool IsCertificate(std::string_view pem);
/// Returns true if the certificate may identify a server: its extended key usage names serverAuth, or it has none.
bool MayServe(std::string_view pem);
/// Returns true if the certificate carries the name of a host.
bool HasName(std::string_view pem, const std::string& host);
/// Returns the time from which on the first certificate is no longer valid; none if there is no certificate.
std::optional<std::chrono::system_clock::time_point> NotAfter(std::string_view pem);
/// Returns true if the private key belongs to the first certificate.
bool KeyFits(std::string_view certificate, std::string_view private_key);

}  // namespace regroup
