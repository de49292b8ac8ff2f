#include "services/common/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/services/common/base/violation.h"

namespace regroup {
namespace {

TEST(Error, CarriesItsCodeMessageReasonAndFields) {
  const absl::Status error = MakeError(absl::StatusCode::kNotFound, v1::RESOURCE_NOT_FOUND, "no job \"x\"",
                                       {Violation("name", "write the name of a job")});

  EXPECT_EQ(error.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(error.message(), "no job \"x\"");
  EXPECT_EQ(ReasonOf(error), v1::RESOURCE_NOT_FOUND);
  ASSERT_EQ(ViolationsOf(error).size(), 1u);
  EXPECT_EQ(ViolationsOf(error)[0].field(), "name");
}

TEST(Error, OfAnotherMakerHasNoReasonAndNoFields) {
  EXPECT_EQ(ReasonOf(absl::InternalError("broken")), v1::ERROR_REASON_UNSPECIFIED);
  EXPECT_TRUE(ViolationsOf(absl::InternalError("broken")).empty());
  EXPECT_EQ(ReasonOf(absl::OkStatus()), v1::ERROR_REASON_UNSPECIFIED);
}

TEST(Error, OfInvalidFieldsNamesEveryFieldInItsMessage) {
  const absl::Status status = InvalidFields({Violation("name", "write a name"), Violation("", "the file is empty")});
  EXPECT_EQ(std::string(status.message()), "name: write a name\nthe file is empty");
  EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD);
  EXPECT_EQ(ViolationsOf(status).size(), 2u);
}

}  // namespace
}  // namespace regroup
