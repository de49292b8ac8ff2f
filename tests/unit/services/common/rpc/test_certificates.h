// A folder with its own authority and certificates signed by it; removed at the end of the test.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "services/common/base/files.h"
#include "services/common/rpc/certificates.h"
#include "services/common/rpc/channel.h"
#include "services/common/rpc/worker_channel.h"

namespace regroup {

class TestCertificates {
 public:
  TestCertificates() {
    std::string pattern = (std::filesystem::temp_directory_path() / "certificates_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    authority_ = MakeAuthority({.name = "test authority"}).value();
    Write("ca", authority_);
  }
  ~TestCertificates() { std::filesystem::remove_all(folder_); }

  /// Creates a certificate of this authority for this machine's loopback addresses, under `name`.
  void Make(const std::string& name, std::chrono::hours not_after = std::chrono::hours(24)) {
    MakeFrom(authority_, name, not_after);
  }
  /// Makes a worker's certificate.
  void MakeWorker(const std::string& name, std::chrono::hours not_after = std::chrono::hours(24)) {
    MakeFrom(authority_, name, not_after, {kWorkerName});
  }
  /// Makes a worker's certificate with other names too, as older releases did.
  void MakeWorkerOf(const std::string& name, std::vector<std::string> hosts) {
    MakeFrom(authority_, name, std::chrono::hours(24), std::move(hosts));
  }
  /// Creates a certificate of an authority that no program of the test trusts.
  void MakeStranger(const std::string& name) {
    MakeFrom(MakeAuthority({.name = "another authority"}).value(), name, std::chrono::hours(24));
  }

  TlsFiles Files(const std::string& name) const {
    return {.certificate = Path(name + ".pem"),
            .private_key = Path(name + ".key"),
            .certificate_authority = Path("ca.pem"),
            .reload_interval = std::chrono::seconds(1)};
  }
  ClientIdentity Identity(const std::string& name, const std::string& token_file = "") const {
    return {Files(name), token_file};
  }
  std::string Path(const std::string& file) const { return (folder_ / file).string(); }

  /// Replaces the files of `to` with those of `from`.
  void Replace(const std::string& to, const std::string& from) {
    for (const char* ending : {".pem", ".key"}) std::filesystem::rename(Path(from + ending), Path(to + ending));
  }

 private:
  void MakeFrom(const CertificatePair& authority, const std::string& name, std::chrono::hours not_after,
                std::vector<std::string> hosts = {"localhost", "127.0.0.1", "::1"}) {
    Write(name,
          SignCertificate(
              authority,
              {.name = name, .hosts = std::move(hosts), .not_before = std::chrono::hours(-48), .not_after = not_after})
              .value());
  }
  void Write(const std::string& name, const CertificatePair& pair) {
    ASSERT_TRUE(WriteFileAtomically(Path(name + ".pem"), pair.certificate).ok());
    ASSERT_TRUE(WriteFileAtomically(Path(name + ".key"), pair.private_key).ok());
  }

  std::filesystem::path folder_;
  CertificatePair authority_;
};

}  // namespace regroup
