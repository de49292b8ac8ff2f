// Tests that the state of certificate files is told at the start and whenever they change.
#include "services/common/rpc/certificate_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "tests/unit/services/common/rpc/test_certificates.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

constexpr std::chrono::seconds kPatience{30};

class CertificateWatchTest : public ::testing::Test {
 protected:
  void SetUp() override { files_.Make("server"); }

  void Tell(const absl::Status& status, std::optional<CertificateWatch::Expiry> expiry) {
    const std::lock_guard lock(mutex_);
    status_ = status;
    expiry_ = expiry;
    ++reports_;
    told_.notify_all();
  }
  /// Waits until something was told so many times.
  bool WaitFor(int reports) {
    std::unique_lock lock(mutex_);
    return told_.wait_for(lock, kPatience, [&] { return reports_ >= reports; });
  }

  TestCertificates files_;
  std::mutex mutex_;
  std::condition_variable told_;
  absl::Status status_;
  std::optional<CertificateWatch::Expiry> expiry_;
  int reports_ = 0;
  CertificateWatch::Observer observer_ =
      [this](const absl::Status& status, std::optional<CertificateWatch::Expiry> expiry) { Tell(status, expiry); };
};

TEST_F(CertificateWatchTest, TellsTheFirstExpiryAtTheStart) {
  const auto before = std::chrono::system_clock::now();
  const CertificateWatch watch(files_.Files("server"), observer_);
  ASSERT_EQ(reports_, 1);
  EXPECT_TRUE(status_.ok()) << status_;
  // The certificate is valid for a day, the authority for a year.
  ASSERT_TRUE(expiry_);
  EXPECT_GT(*expiry_, before + std::chrono::hours(23));
  EXPECT_LT(*expiry_, before + std::chrono::hours(25));
}

TEST_F(CertificateWatchTest, TellsOfDamageAndOfRepair) {
  const std::string whole = ReadFile(files_.Path("server.pem")).value();
  const CertificateWatch watch(files_.Files("server"), observer_);
  ASSERT_TRUE(WriteFileAtomically(files_.Path("server.pem"), "garbage\n").ok());
  ASSERT_TRUE(WaitFor(2));
  EXPECT_THAT(std::string(status_.message()), HasSubstr("server.pem holds no certificate"));
  EXPECT_FALSE(expiry_);
  ASSERT_TRUE(WriteFileAtomically(files_.Path("server.pem"), whole).ok());
  ASSERT_TRUE(WaitFor(3));
  EXPECT_TRUE(status_.ok()) << status_;
}

TEST_F(CertificateWatchTest, TellsOfAKeyOfAnotherCertificate) {
  files_.Make("other");
  const CertificateWatch watch(files_.Files("server"), observer_);
  std::filesystem::rename(files_.Path("other.key"), files_.Path("server.key"));
  ASSERT_TRUE(WaitFor(2));
  EXPECT_THAT(std::string(status_.message()), HasSubstr("server.key is not the key of"));
}

TEST_F(CertificateWatchTest, IsSilentWithoutFiles) {
  const CertificateWatch watch({}, observer_);
  EXPECT_EQ(reports_, 0);
}

}  // namespace
}  // namespace regroup
