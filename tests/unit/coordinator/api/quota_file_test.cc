// Tests how the file of quotas is read, and that a damaged one changes nothing.
#include "coordinator/api/quota_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <vector>

#include "coordinator/api/quota_watch.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

TEST(QuotaFile, GivesEachOwnerItsLimitsAndAllOthersThoseOfTheStar) {
  const auto quotas = ParseQuotas("alice: {slots: 8, jobs: 50}\nbob:\n  jobs: 0\n\"*\": {slots: 4}\n", "quotas.yaml");
  ASSERT_TRUE(quotas.ok()) << quotas.status();
  EXPECT_EQ(quotas->Of("alice"), (Quota{.slots = 8, .jobs = 50}));
  EXPECT_EQ(quotas->Of("bob"), (Quota{.jobs = 0})) << "is not completed by that of the others";
  EXPECT_EQ(quotas->Of("carol"), (Quota{.slots = 4}));
  EXPECT_EQ(quotas->Of(""), Quota()) << "without tokens there are no owners";
  EXPECT_EQ(ParseQuotas("", "quotas.yaml").value(), Quotas());
}

struct Wrong {
  const char* text;
  const char* message;
};

class WrongQuotaFile : public ::testing::TestWithParam<Wrong> {};
TEST_P(WrongQuotaFile, IsRejectedWithThePlaceAndTheReason) {
  const absl::Status status = ParseQuotas(GetParam().text, "quotas.yaml").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}
INSTANTIATE_TEST_SUITE_P(
    All, WrongQuotaFile,
    ::testing::Values(Wrong{"alice: {slots: -1}",
                            "quotas.yaml:1:16: alice.slots: write a whole number from 0 to 1000000"},
                      Wrong{"alice: {slots: many}", "alice.slots"}, Wrong{"alice: {slots: \"4\"}", "alice.slots"},
                      Wrong{"alice: {jobs: 1.5}", "alice.jobs"}, Wrong{"alice: {jobs: 1000001}", "alice.jobs"},
                      Wrong{"alice: {slots: }", "alice.slots"},
                      Wrong{"\n\nalice: {gpus: 2}", "quotas.yaml:3:9: alice.gpus is unknown; write slots or jobs"},
                      Wrong{"alice: 4", "quotas.yaml:1:8: alice: write the limits as {slots: 8, jobs: 50}"},
                      Wrong{"- alice", "quotas.yaml:1:1: the file must be a mapping"},
                      Wrong{"alice: {slots: 1}\nalice: {slots: 2}", "quotas.yaml:2:1"}));

/// A file of quotas, and what a watch tells of it.
class QuotaWatchTest : public ::testing::Test {
 protected:
  ~QuotaWatchTest() override {
    watch_.Stop();
    std::filesystem::remove_all(folder_);
  }
  static std::filesystem::path MakeFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "quotas_XXXXXX").string();
    return mkdtemp(pattern.data());
  }
  /// Replaces the file, as an editor does.
  void Write(const std::string& text) {
    std::ofstream(folder_ / "new") << text;
    std::filesystem::rename(folder_ / "new", folder_ / "quotas.yaml");
  }
  bool Eventually(const std::function<bool()>& condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), condition);
  }

  const std::filesystem::path folder_ = MakeFolder();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Quotas> quotas_;
  std::vector<bool> readable_;
  QuotaWatch watch_{folder_ / "quotas.yaml",
                    {.changed =
                         [this](const Quotas& quotas) {
                           const std::lock_guard lock(mutex_);
                           quotas_.push_back(quotas);
                           changed_.notify_all();
                         },
                     .readable =
                         [this](bool readable) {
                           const std::lock_guard lock(mutex_);
                           readable_.push_back(readable);
                           changed_.notify_all();
                         }}};
};

TEST_F(QuotaWatchTest, DoesNotStartWithoutTheFileOrWithADamagedOne) {
  EXPECT_EQ(watch_.Start().code(), absl::StatusCode::kNotFound);
  Write("alice: 4");
  EXPECT_EQ(watch_.Start().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(QuotaWatchTest, TellsOfChangesAndKeepsTheLastQuotasWhileTheFileIsDamaged) {
  Write("alice: {slots: 1}");
  ASSERT_TRUE(watch_.Start().ok());
  ASSERT_EQ(quotas_.size(), 1u);
  Write("alice: {slots: 22}");
  ASSERT_TRUE(Eventually([&] { return quotas_.size() == 2; }));
  EXPECT_EQ(quotas_.back().Of("alice").slots, 22);
  Write("alice: {slots: all of them}");
  ASSERT_TRUE(Eventually([&] { return !readable_.back(); }));
  EXPECT_EQ(quotas_.size(), 2u);
  std::filesystem::remove(folder_ / "quotas.yaml");
  Write("bob: {slots: 333}");
  ASSERT_TRUE(Eventually([&] { return readable_.back(); }));
  EXPECT_EQ(quotas_.back().Of("bob").slots, 333);
  EXPECT_THAT(readable_, ::testing::ElementsAre(true, false, true));
}

}  // namespace
}  // namespace regroup
