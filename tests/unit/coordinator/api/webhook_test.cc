#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "coordinator/api/webhook_sender.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(WebhookFile, NamesUrlsWithTheirSecretsAndStates) {
  const auto hooks = ParseWebhooks(
      "webhooks:\n  - {name: a, url: \"https://host/x?team=1\", secret_file: /s}\n"
      "  - {name: b, url: \"http://10.0.0.1:80/\", secret_file: /t, states: [failed]}\n",
      "hooks.yaml");
  ASSERT_TRUE(hooks.ok()) << hooks.status();
  ASSERT_EQ(hooks->size(), 2u);
  EXPECT_EQ(hooks->front().url, "https://host/x?team=1");
  EXPECT_THAT(hooks->front().states,
              ElementsAre(v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED, v1::JOB_STATE_CANCELLED));
  EXPECT_THAT(hooks->back().states, ElementsAre(v1::JOB_STATE_FAILED));
}

struct Wrong {
  const char* text;
  const char* message;
};

class WrongWebhookFile : public ::testing::TestWithParam<Wrong> {};
TEST_P(WrongWebhookFile, IsRejectedWithThePlaceAndTheReason) {
  const absl::Status status = ParseWebhooks(GetParam().text, "hooks.yaml").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}
INSTANTIATE_TEST_SUITE_P(
    All, WrongWebhookFile,
    ::testing::Values(
        Wrong{"", "write `webhooks:` with a list"}, Wrong{"webhooks: 4", "with a list"},
        Wrong{"hooks: []", "with a list"}, Wrong{"webhooks: [4]", "write name, url and secret_file"},
        Wrong{"webhooks: [{name: A, url: \"https://h/x\", secret_file: /s}]", "name: write lower-case"},
        Wrong{"webhooks: [{name: a, url: \"ftp://h/x\", secret_file: /s}]", "a: url: write https"},
        Wrong{"webhooks: [{name: a, url: \"https://u:p@h/x\", secret_file: /s}]", "without credentials"},
        Wrong{"webhooks: [{name: a, url: \"https://h/x\", secret_file: s}]", "secret_file: write an absolute path"},
        Wrong{"webhooks: [{name: a, url: \"https://h/x\", secret_file: /s, states: [running]}]", "states: write"},
        Wrong{"webhooks: [{name: a, url: \"https://h/x\", secret_file: /s, states: []}]", "states: write a list"},
        Wrong{"webhooks: [{name: a, ur: b}]", "hooks.yaml:1:22: ur is unknown"},
        Wrong{"webhooks:\n- {name: a, url: \"https://h/x\", secret_file: /s}\n- {name: a, url: \"https://h/x\", "
              "secret_file: /s}",
              "hooks.yaml:3:3: 'a' is named twice"}));

TEST(WebhookSecret, IsEncodedOrPlainAndLongEnough) {
  std::string pattern = (std::filesystem::temp_directory_path() / "secret_XXXXXX").string();
  const std::filesystem::path folder = mkdtemp(pattern.data());
  const auto read = [&](const std::string& text) {
    std::ofstream(folder / "secret") << text;
    return ReadWebhookSecret(folder / "secret");
  };
  EXPECT_EQ(read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").value().size(), 24u);
  EXPECT_EQ(read("a secret that is long enough\n").value(), "a secret that is long enough");
  for (const char* wrong : {"", "short", "whsec_MfKQ9r8G", "whsec_***", "whsec_"}) {
    const absl::Status status = read(wrong).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << wrong;
    EXPECT_THAT(std::string(status.message()), testing::Not(HasSubstr("MfKQ9r8G")));
  }
  EXPECT_TRUE(absl::IsNotFound(ReadWebhookSecret(folder / "none").status()));
  std::filesystem::remove_all(folder);
}

TEST(Webhook, IsToldOfTheStatesThatItAsksFor) {
  v1::Job job;
  job.set_name("jobs/a-1");
  job.set_state(v1::JOB_STATE_FAILED);
  job.set_revision(12);
  job.set_owner("alice");
  job.mutable_failure()->set_message("no text");
  job.mutable_spec()->set_name("a");
  job.mutable_resolved_spec()->mutable_output()->set_checkpoint("/results/a");
  job.add_tasks();
  const std::vector<Webhook> hooks = {
      {.name = "all", .states = {v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED, v1::JOB_STATE_CANCELLED}},
      {.name = "good", .states = {v1::JOB_STATE_SUCCEEDED}}};
  const std::vector<Delivery> deliveries =
      DeliveriesOf(hooks, job, std::chrono::system_clock::from_time_t(1'700'000'000));
  ASSERT_EQ(deliveries.size(), 1u);
  EXPECT_EQ(deliveries.front().id, "a-1.12.all");
  EXPECT_EQ(deliveries.front().created_us, 1'700'000'000'000'000);
  const auto body = nlohmann::json::parse(deliveries.front().body);
  EXPECT_EQ(body["type"], "job.failed");
  EXPECT_EQ(body["timestamp"], "2023-11-14T22:13:20Z");
  EXPECT_EQ(body["data"]["name"], "jobs/a-1");
  EXPECT_EQ(body["data"]["owner"], "alice");
  EXPECT_EQ(body["data"]["output"], "/results/a");
  EXPECT_FALSE(body["data"].contains("spec") || body["data"].contains("tasks"));
}

TEST(Webhook, IsTriedAgainLaterAndLater) {
  EXPECT_EQ(PauseBeforeDelivery(1), std::chrono::seconds(5));
  EXPECT_EQ(PauseBeforeDelivery(2), std::chrono::seconds(10));
  EXPECT_EQ(PauseBeforeDelivery(9), std::chrono::seconds(1280));
  EXPECT_EQ(PauseBeforeDelivery(11), std::chrono::hours(1));
  EXPECT_EQ(PauseBeforeDelivery(1'000'000), std::chrono::hours(1));
}

}  // namespace
}  // namespace regroup
