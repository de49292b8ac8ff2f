#include "services/common/rpc/request_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "regroup/v1/job_service.pb.h"
#include "regroup/v1/worker_service.pb.h"
#include "services/common/base/error.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

constexpr RequestLimits kLimits = {.bytes = 4096, .entries = 3};

template <typename Message>
absl::Status CheckBytes(const std::string& bytes, const RequestLimits& limits = kLimits) {
  const grpc::Slice slice(bytes);
  return CheckRequest(*Message::descriptor(), grpc::ByteBuffer(&slice, 1), limits);
}

template <typename Message>
absl::Status Check(const Message& message, const RequestLimits& limits = kLimits) {
  return CheckBytes<Message>(message.SerializeAsString(), limits);
}

void ExpectTooMany(const absl::Status& status, const std::string& field) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD);
  EXPECT_EQ(std::string(status.message()), field + ": has more than 3 entries");
}

TEST(RequestLimits, TakeARequestOfEveryKindOfField) {
  v1::SubmitJobRequest request;
  EXPECT_TRUE(Check(request).ok());
  request.set_job_id("a-job");
  request.set_validate_only(true);
  v1::JobSpec* spec = request.mutable_spec();
  spec->set_name("a job");
  (*spec->mutable_labels())["team"] = "search";
  spec->mutable_finetune()->set_learning_rate(1e-5);
  spec->mutable_evaluation()->add_multiple_choice()->set_data("/data");
  for (const int heads : {1, 2, 300}) spec->mutable_sweep()->add_kv_heads(heads);
  EXPECT_TRUE(Check(request).ok()) << Check(request);
}

TEST(RequestLimits, NameTheFieldThatHasTooManyEntries) {
  v1::SubmitJobRequest request;
  for (int i = 0; i < 4; ++i) request.mutable_spec()->mutable_evaluation()->add_multiple_choice();
  ExpectTooMany(Check(request), "spec.evaluation.multiple_choice");
  request.Clear();
  for (int i = 0; i < 4; ++i) (*request.mutable_spec()->mutable_labels())[std::to_string(i)] = "";
  ExpectTooMany(Check(request), "spec.labels");
  request.Clear();
  for (int i = 0; i < 4; ++i) request.mutable_spec()->mutable_sweep()->add_kv_heads(i);
  ExpectTooMany(Check(request), "spec.sweep.kv_heads");
  request.Clear();
  for (int i = 0; i < 4; ++i) request.mutable_spec()->mutable_sweep()->add_alignment("");
  ExpectTooMany(Check(request), "spec.sweep.alignment");
}

TEST(RequestLimits, CountTheEntriesOfAllMessagesTogether) {
  v1::PushLogsRequest request;
  for (int i = 0; i < 2; ++i) {
    v1::AttemptReport* report = request.add_reports();
    report->add_logs();
    report->add_logs();
  }
  ExpectTooMany(Check(request), "reports.logs");
}

TEST(RequestLimits, CountRepeatedNumbersThatAreNotPacked) {
  // Field 3, states, each with a tag of its own.
  ExpectTooMany(CheckBytes<v1::ListJobsRequest>(std::string("\x18\x01\x18\x01\x18\x01\x18\x01")), "states");
}

TEST(RequestLimits, CountFieldsThatThisVersionDoesNotKnow) {
  const std::string unknown = "\xa2\x06" + std::string(1, '\0');
  EXPECT_TRUE(CheckBytes<v1::ListJobsRequest>(unknown + unknown + unknown).ok());
  ExpectTooMany(CheckBytes<v1::ListJobsRequest>(unknown + unknown + unknown + unknown), "unknown fields");
}

TEST(RequestLimits, RefuseALongRequestWithBothLengths) {
  v1::GetJobRequest request;
  request.set_name(std::string(5000, 'x'));
  const absl::Status status = Check(request);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), v1::LIMIT_REACHED);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the request has 5003 bytes; a GetJobRequest has at most 4096"));
}

TEST(RequestLimits, RefuseBytesThatAreNoMessage) {
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += "\x0b";
  for (const std::string& bytes :
       {std::string("\x0a\x05x"), std::string("\x0a\xff\xff\xff\xff\x0f"), std::string(1, '\0'), std::string("\x0c"),
        std::string("\x0b"), std::string("\x0f"), std::string("\x08"), deep}) {
    EXPECT_FALSE(CheckBytes<v1::GetJobRequest>(bytes, {.bytes = 4096, .entries = 2000}).ok());
  }
}

}  // namespace
}  // namespace regroup
