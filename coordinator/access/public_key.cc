#include "coordinator/access/public_key.h"

#include <fmt/format.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>

#include <utility>

#include "services/common/base/freer.h"
#include "services/common/base/sha256.h"

namespace regroup {
namespace {

using BigNumber = std::unique_ptr<BIGNUM, Freer<BN_free>>;
using Context = std::unique_ptr<EVP_PKEY_CTX, Freer<EVP_PKEY_CTX_free>>;
using Digest = std::unique_ptr<EVP_MD_CTX, Freer<EVP_MD_CTX_free>>;
using ParamBuilder = std::unique_ptr<OSSL_PARAM_BLD, Freer<OSSL_PARAM_BLD_free>>;
using Params = std::unique_ptr<OSSL_PARAM, Freer<OSSL_PARAM_free>>;
using EcdsaSignature = std::unique_ptr<ECDSA_SIG, Freer<ECDSA_SIG_free>>;

constexpr int kFewestRsaBits = 2048;
constexpr int kMostRsaBits = 8192;
constexpr size_t kMostExponentBytes = 8;
constexpr size_t kP256Bytes = 32;
constexpr char kUncompressedPoint = '\x04';

/// gRPC reads the thread's error queue after its own calls, so what failed here must not stay in it.
struct ErrorQueueGuard {
  ~ErrorQueueGuard() { ERR_clear_error(); }
};

const unsigned char* Bytes(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

BigNumber NumberOf(std::string_view bytes) {
  return BigNumber(BN_bin2bn(Bytes(bytes), static_cast<int>(bytes.size()), nullptr));
}

/// Returns the key of that type; null if the parameters do not form a valid public key.
std::shared_ptr<EVP_PKEY> MakeKey(const char* type, OSSL_PARAM_BLD* builder) {
  const Params params(OSSL_PARAM_BLD_to_param(builder));
  const Context maker(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
  EVP_PKEY* made = nullptr;
  if (params == nullptr || EVP_PKEY_fromdata_init(maker.get()) != 1 ||
      EVP_PKEY_fromdata(maker.get(), &made, EVP_PKEY_PUBLIC_KEY, params.get()) != 1) {
    return nullptr;
  }
  std::shared_ptr<EVP_PKEY> key(made, EVP_PKEY_free);
  const Context checker(EVP_PKEY_CTX_new_from_pkey(nullptr, made, nullptr));
  return EVP_PKEY_public_check(checker.get()) == 1 ? key : nullptr;
}

std::string DigestOf(EVP_PKEY* key) {
  unsigned char* encoded = nullptr;
  const int size = i2d_PUBKEY(key, &encoded);
  if (size <= 0) return "";
  std::string digest = Sha256Of({reinterpret_cast<const char*>(encoded), static_cast<size_t>(size)});
  OPENSSL_free(encoded);
  return digest;
}

/// Converts r and s to the DER form that OpenSSL reads; empty if their size is wrong.
std::string ToDer(std::string_view signature) {
  if (signature.size() != 2 * kP256Bytes) return "";
  const EcdsaSignature numbers(ECDSA_SIG_new());
  BigNumber r = NumberOf(signature.substr(0, kP256Bytes));
  BigNumber s = NumberOf(signature.substr(kP256Bytes));
  if (numbers == nullptr || ECDSA_SIG_set0(numbers.get(), r.get(), s.get()) != 1) return "";
  // `numbers` owns them now.
  static_cast<void>(r.release());
  static_cast<void>(s.release());
  unsigned char* encoded = nullptr;
  const int size = i2d_ECDSA_SIG(numbers.get(), &encoded);
  if (size <= 0) return "";
  std::string der(reinterpret_cast<const char*>(encoded), static_cast<size_t>(size));
  OPENSSL_free(encoded);
  return der;
}

}  // namespace

PublicKey::PublicKey(SignatureAlgorithm algorithm, std::shared_ptr<EVP_PKEY> key)
    : algorithm_(algorithm), key_(std::move(key)), digest_(DigestOf(key_.get())) {}

absl::StatusOr<PublicKey> PublicKey::FromRsa(std::string_view modulus, std::string_view exponent) {
  const ErrorQueueGuard guard;
  // Larger numbers would cost seconds to check.
  if (modulus.size() > kMostRsaBits / 8 || exponent.size() > kMostExponentBytes) {
    return absl::InvalidArgumentError(fmt::format("has more than {} bits", kMostRsaBits));
  }
  const BigNumber n = NumberOf(modulus);
  const BigNumber e = NumberOf(exponent);
  if (BN_num_bits(n.get()) < kFewestRsaBits) {
    return absl::InvalidArgumentError(fmt::format("has fewer than {} bits", kFewestRsaBits));
  }
  const ParamBuilder builder(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get());
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get());
  std::shared_ptr<EVP_PKEY> key = MakeKey("RSA", builder.get());
  if (key == nullptr) return absl::InvalidArgumentError("is not a valid RSA public key");
  return PublicKey(SignatureAlgorithm::kRs256, std::move(key));
}

absl::StatusOr<PublicKey> PublicKey::FromP256(std::string_view x, std::string_view y) {
  const ErrorQueueGuard guard;
  if (x.size() != kP256Bytes || y.size() != kP256Bytes) {
    return absl::InvalidArgumentError(fmt::format("must have coordinates of {} bytes", kP256Bytes));
  }
  const std::string point = kUncompressedPoint + std::string(x) + std::string(y);
  const ParamBuilder builder(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0);
  OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size());
  std::shared_ptr<EVP_PKEY> key = MakeKey("EC", builder.get());
  if (key == nullptr) return absl::InvalidArgumentError("is not a point on P-256");
  return PublicKey(SignatureAlgorithm::kEs256, std::move(key));
}

bool PublicKey::Verifies(std::string_view text, std::string_view signature) const {
  const ErrorQueueGuard guard;
  const bool is_ecdsa = algorithm_ == SignatureAlgorithm::kEs256;
  const std::string der = is_ecdsa ? ToDer(signature) : std::string(signature);
  if (der.empty()) return false;
  const Digest context(EVP_MD_CTX_new());
  return EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key_.get()) == 1 &&
         EVP_DigestVerify(context.get(), Bytes(der), der.size(), Bytes(text), text.size()) == 1;
}

}  // namespace regroup
