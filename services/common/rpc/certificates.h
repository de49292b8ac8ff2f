// X.509 certificates for mutual TLS: a small authority of one's own, and questions about PEM texts.
//
// Keys are on the curve P-256. Functions may be called from any thread; errors are INTERNAL with OpenSSL's reason.
#pragma once

#include <chrono>
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

struct CertificateRequest {
  /// The subject's common name.
  std::string name;
  /// Host names and IP addresses under which it is reached; those of a server only.
  std::vector<std::string> hosts;
  /// From now; the past is allowed, for tests.
  std::chrono::hours not_before{-1};
  std::chrono::hours not_after{24 * 365};
};

/// A new self-signed authority.
absl::StatusOr<CertificatePair> MakeAuthority(const CertificateRequest& request);

/// A new pair that `authority` signed, for both ends of a connection.
absl::StatusOr<CertificatePair> SignCertificate(const CertificatePair& authority, const CertificateRequest& request);

/// Whether the text begins with a certificate that can be read.
bool IsCertificate(std::string_view pem);
/// Whether the private key is that of the first certificate.
bool KeyFits(std::string_view certificate, std::string_view private_key);

}  // namespace regroup
