// A public key that verifies signatures: RSA of 2,048 to 8,192 bits for RS256, or a point on P-256 for ES256 (RFC
// 7518).
//
// Values, for any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

struct evp_pkey_st;

namespace regroup {

enum class SignatureAlgorithm {
  /// RSASSA-PKCS1-v1_5 with SHA-256.
  kRs256,
  /// ECDSA on P-256 with SHA-256; the signature is r and s, 32 bytes each.
  kEs256,
};

class PublicKey {
 public:
  /// Makes a key from modulus and exponent, big-endian. INVALID_ARGUMENT if they do not form a key of an allowed size.
  static absl::StatusOr<PublicKey> FromRsa(std::string_view modulus, std::string_view exponent);
  /// Makes a key from the coordinates of a point, 32 bytes each. INVALID_ARGUMENT if it is not on the curve.
  static absl::StatusOr<PublicKey> FromP256(std::string_view x, std::string_view y);

  SignatureAlgorithm algorithm() const { return algorithm_; }
  /// SHA-256 of the key (SubjectPublicKeyInfo), hexadecimal.
  const std::string& digest() const { return digest_; }

  /// Returns true if `signature` was made over `text` with this key. The caller checks algorithm() first.
  bool Verifies(std::string_view text, std::string_view signature) const;

 private:
  PublicKey(SignatureAlgorithm algorithm, std::shared_ptr<evp_pkey_st> key);

  SignatureAlgorithm algorithm_;
  std::shared_ptr<evp_pkey_st> key_;
  std::string digest_;
};

}  // namespace regroup
