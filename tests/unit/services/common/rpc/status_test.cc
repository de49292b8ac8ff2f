#include "services/common/rpc/status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/cord.h"
#include "google/rpc/status.pb.h"
#include "services/common/base/error.h"
#include "tests/unit/services/common/base/violation.h"

namespace regroup {
namespace {

TEST(Status, SurvivesTheWireWithItsReasonAndFields) {
  const absl::Status sent =
      MakeError(absl::StatusCode::kInvalidArgument, v1::INVALID_FIELD, "two fields are wrong",
                {Violation("finetune.steps", "write a positive number"), Violation("name", "write a name")});

  const absl::Status received = FromGrpc(ToGrpc(sent));

  EXPECT_EQ(received, sent);
  EXPECT_EQ(ReasonOf(received), v1::INVALID_FIELD);
  ASSERT_EQ(ViolationsOf(received).size(), 2u);
  EXPECT_EQ(ViolationsOf(received)[0].field(), "finetune.steps");
  EXPECT_EQ(ViolationsOf(received)[1].description(), "write a name");
}

// gRPC's clients reject more than 8 KiB of headers and lose the whole answer.
TEST(Status, OfAVeryWrongRequestStillFitsBehindTheAnswer) {
  std::vector<FieldViolation> violations;
  for (int i = 0; i < 1000; ++i) violations.push_back(Violation("field" + std::to_string(i), std::string(50, 'x')));
  const absl::Status sent = MakeError(absl::StatusCode::kInvalidArgument, v1::INVALID_FIELD,
                                      "\xc3\xa9" + std::string(1'000'000, 'y'), violations);

  const grpc::Status wire = ToGrpc(sent);
  const absl::Status received = FromGrpc(wire);

  EXPECT_LT(3 * wire.error_message().size() + wire.error_details().size() * 4 / 3, 8000u);
  EXPECT_EQ(ReasonOf(received), v1::INVALID_FIELD);
  ASSERT_GT(ViolationsOf(received).size(), 5u);
  EXPECT_EQ(ViolationsOf(received)[0].field(), "field0");
}

TEST(Status, IsTheStandardStatusOnTheWire) {
  const grpc::Status sent = ToGrpc(MakeError(absl::StatusCode::kNotFound, v1::RESOURCE_NOT_FOUND, "no job \"x\""));

  EXPECT_EQ(sent.error_code(), grpc::StatusCode::NOT_FOUND);
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(sent.error_details()));
  EXPECT_EQ(details.code(), 5);
  google::rpc::ErrorInfo info;
  ASSERT_EQ(details.details_size(), 1);
  ASSERT_TRUE(details.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "RESOURCE_NOT_FOUND");
  EXPECT_EQ(info.domain(), "regroup");
}

TEST(Status, OkStaysOk) {
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpc(grpc::Status::OK).ok());
}

TEST(Status, KeepsCodeAndMessageWhenTheDetailsAreNotReadable) {
  const absl::Status received = FromGrpc(grpc::Status(grpc::StatusCode::ABORTED, "stopped", "\xff\xff not a message"));
  EXPECT_EQ(received, absl::AbortedError("stopped"));
  EXPECT_EQ(ReasonOf(received), v1::ERROR_REASON_UNSPECIFIED);
}

TEST(Status, DoesNotSendPayloadsThatOnlyThisProgramUnderstands) {
  absl::Status status = absl::InternalError("broken");
  status.SetPayload("regroup/private", absl::Cord("secret"));
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(ToGrpc(status).error_details()));
  EXPECT_EQ(details.details_size(), 0);
}

}  // namespace
}  // namespace regroup
