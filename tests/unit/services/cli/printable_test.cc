#include "services/cli/printable.h"

#include <gtest/gtest.h>

#include "regroup/v1/job.pb.h"
#include "services/cli/json_text.h"

namespace regroup {
namespace {

TEST(Printable, RewritesEveryStringOfAMessage) {
  v1::Job job;
  job.set_waiting_reason("\x1b[2J\nforged");
  (*job.mutable_spec()->mutable_labels())["\u009b"] = "\u202e";
  (*job.mutable_figures())["a\x1b/result"] = 1;
  job.mutable_failure()->set_message("first\nsecond");
  job.mutable_failure()->add_log_tail("\x07");
  job.add_tasks()->mutable_failure()->add_log_tail("\r");
  const v1::Job shown = Printable(job);
  EXPECT_EQ(shown.waiting_reason(), "\\x1b[2J\\nforged");
  EXPECT_EQ(shown.spec().labels().at("\\u{9b}"), "\\u{202e}");
  EXPECT_EQ(shown.figures().at("a\\x1b/result"), 1);
  EXPECT_EQ(shown.failure().message(), "first\n    second");
  EXPECT_EQ(shown.failure().log_tail(0), "\\x07");
  EXPECT_EQ(shown.tasks(0).failure().log_tail(0), "\\x0d");
}

TEST(Printable, RewritesKeysAndValuesOfJson) {
  const nlohmann::json value = {{"\x1b", {"\u202e", 1, {{"k", "\n"}}}}};
  EXPECT_EQ(Printable(value).dump(), R"({"\\x1b":["\\u{202e}",1,{"k":"\\n"}]})");
}

TEST(Printable, LeavesJsonAsTheSameValue) {
  v1::Job job;
  job.set_waiting_reason("\u202e\u009b\x7f");
  const std::string json = JsonOf(job, false);
  EXPECT_EQ(json, "{\"waiting_reason\":\"\\u202e\\u009b\\u007f\"}\n");
}

}  // namespace
}  // namespace regroup
