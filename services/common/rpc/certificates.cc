#include "services/common/rpc/certificates.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <memory>

#include "services/common/base/freer.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>>;
using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using BigNumber = std::unique_ptr<BIGNUM, Freer<BN_free>>;

constexpr int kVersion3 = 2;
constexpr int kSerialBits = 127;

absl::Status OpensslError(std::string_view attempted) {
  char text[256];
  ERR_error_string_n(ERR_get_error(), text, sizeof text);
  return absl::InternalError(fmt::format("cannot {}: {}", attempted, text));
}

Bio BioOf(std::string_view text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

Certificate ReadCertificate(std::string_view pem) {
  return Certificate(PEM_read_bio_X509(BioOf(pem).get(), nullptr, nullptr, nullptr));
}

Key ReadKey(std::string_view pem) { return Key(PEM_read_bio_PrivateKey(BioOf(pem).get(), nullptr, nullptr, nullptr)); }

std::string TextOf(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(size)};
}

absl::StatusOr<CertificatePair> ToPem(X509* certificate, EVP_PKEY* key) {
  const Bio certificate_text(BIO_new(BIO_s_mem()));
  const Bio key_text(BIO_new(BIO_s_mem()));
  const bool written = PEM_write_bio_X509(certificate_text.get(), certificate) == 1 &&
                       PEM_write_bio_PrivateKey(key_text.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1;
  if (!written) return OpensslError("write a certificate");
  return CertificatePair{TextOf(certificate_text.get()), TextOf(key_text.get())};
}

bool SetRandomSerial(X509* certificate) {
  const BigNumber serial(BN_new());
  return BN_rand(serial.get(), kSerialBits, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
         BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool SetName(X509* certificate, const std::string& name) {
  return X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(name.data()), static_cast<int>(name.size()),
                                    -1, 0) == 1;
}

void SetTimes(X509* certificate, const CertificateRequest& request) {
  using std::chrono::seconds;
  X509_gmtime_adj(X509_getm_notBefore(certificate), seconds(request.not_before).count());
  X509_gmtime_adj(X509_getm_notAfter(certificate), seconds(request.not_after).count());
}

bool AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool IsIpAddress(const std::string& host) {
  unsigned char bytes[sizeof(in6_addr)];
  return inet_pton(AF_INET, host.c_str(), bytes) == 1 || inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

std::string AlternativeNames(const std::vector<std::string>& hosts) {
  std::string names;
  for (const std::string& host : hosts) {
    names += fmt::format("{}{}:{}", names.empty() ? "" : ",", IsIpAddress(host) ? "IP" : "DNS", host);
  }
  return names;
}

std::string KeyUsage(CertificateUse use) {
  switch (use) {
    case CertificateUse::kServer:
      return "serverAuth";
    case CertificateUse::kClient:
      return "clientAuth";
    case CertificateUse::kServerAndClient:
      break;
  }
  return "serverAuth,clientAuth";
}

/// Returns a certificate without extensions and signature.
absl::StatusOr<Certificate> StartCertificate(const CertificateRequest& request, EVP_PKEY* key) {
  Certificate certificate(X509_new());
  const bool is_set = X509_set_version(certificate.get(), kVersion3) == 1 && SetRandomSerial(certificate.get()) &&
                      SetName(certificate.get(), request.name) && X509_set_pubkey(certificate.get(), key) == 1;
  if (!is_set) return OpensslError("make a certificate");
  SetTimes(certificate.get(), request);
  return certificate;
}

absl::Status Sign(X509* certificate, X509* issuer, EVP_PKEY* issuer_key) {
  const bool is_signed = X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1 &&
                         AddExtension(certificate, issuer, NID_authority_key_identifier, "keyid") &&
                         X509_sign(certificate, issuer_key, EVP_sha256()) > 0;
  return is_signed ? absl::OkStatus() : OpensslError("sign a certificate");
}

}  // namespace

absl::StatusOr<CertificatePair> MakeAuthority(const CertificateRequest& request) {
  const Key key(EVP_EC_gen("P-256"));
  if (key == nullptr) return OpensslError("make a key");
  REGROUP_ASSIGN_OR_RETURN(const Certificate certificate, StartCertificate(request, key.get()));
  X509* const x509 = certificate.get();
  const bool extended = AddExtension(x509, x509, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
                        AddExtension(x509, x509, NID_key_usage, "critical,keyCertSign,cRLSign") &&
                        AddExtension(x509, x509, NID_subject_key_identifier, "hash");
  if (!extended) return OpensslError("make an authority");
  REGROUP_RETURN_IF_ERROR(Sign(x509, x509, key.get()));
  return ToPem(x509, key.get());
}

absl::StatusOr<CertificatePair> SignCertificate(const CertificatePair& authority, const CertificateRequest& request) {
  const Certificate issuer = ReadCertificate(authority.certificate);
  const Key issuer_key = ReadKey(authority.private_key);
  if (issuer == nullptr || issuer_key == nullptr) return OpensslError("read the authority");
  const Key key(EVP_EC_gen("P-256"));
  if (key == nullptr) return OpensslError("make a key");
  REGROUP_ASSIGN_OR_RETURN(const Certificate certificate, StartCertificate(request, key.get()));
  X509* const x509 = certificate.get();
  bool extended = AddExtension(x509, issuer.get(), NID_basic_constraints, "critical,CA:FALSE") &&
                  AddExtension(x509, issuer.get(), NID_key_usage, "critical,digitalSignature") &&
                  AddExtension(x509, issuer.get(), NID_ext_key_usage, KeyUsage(request.use)) &&
                  AddExtension(x509, issuer.get(), NID_subject_key_identifier, "hash");
  if (!request.hosts.empty()) {
    extended = extended && AddExtension(x509, issuer.get(), NID_subject_alt_name, AlternativeNames(request.hosts));
  }
  if (!extended) return OpensslError("make a certificate");
  REGROUP_RETURN_IF_ERROR(Sign(x509, issuer.get(), issuer_key.get()));
  return ToPem(x509, key.get());
}

bool IsCertificate(std::string_view pem) {
  const bool is_certificate = ReadCertificate(pem) != nullptr;
  ERR_clear_error();
  return is_certificate;
}

bool MayServe(std::string_view pem) {
  const Certificate certificate = ReadCertificate(pem);
  ERR_clear_error();
  // Without the extension OpenSSL sets every bit.
  return certificate != nullptr && (X509_get_extended_key_usage(certificate.get()) & XKU_SSL_SERVER) != 0;
}

bool HasName(std::string_view pem, const std::string& host) {
  const Certificate certificate = ReadCertificate(pem);
  const bool has_name = certificate != nullptr && X509_check_host(certificate.get(), host.data(), host.size(),
                                                                  X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, nullptr) == 1;
  ERR_clear_error();
  return has_name;
}

std::optional<std::chrono::system_clock::time_point> NotAfter(std::string_view pem) {
  const Certificate certificate = ReadCertificate(pem);
  tm time{};
  const bool is_read = certificate != nullptr && ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &time) == 1;
  ERR_clear_error();
  if (!is_read) return std::nullopt;
  return std::chrono::system_clock::from_time_t(timegm(&time));
}

bool KeyFits(std::string_view certificate, std::string_view private_key) {
  const Certificate x509 = ReadCertificate(certificate);
  const Key key = ReadKey(private_key);
  const bool fits = x509 != nullptr && key != nullptr && X509_check_private_key(x509.get(), key.get()) == 1;
  ERR_clear_error();
  return fits;
}

}  // namespace regroup
