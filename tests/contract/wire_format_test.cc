// The promise of proto/README.md: what a release sends and accepts, every later one sends and accepts in the same form.
//
// Each file in `released` lists the fields, enum values and calls of a release, one a line; all of them must still
// exist unchanged. To add a release, run this program with REGROUP_WIRE_FORMAT=<file>, which writes today's lines
// there.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "regroup/v1/cluster_service.pb.h"
#include "regroup/v1/error_reason.pb.h"
#include "regroup/v1/job.pb.h"
#include "regroup/v1/job_service.pb.h"
#include "regroup/v1/plan.pb.h"

namespace regroup {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::ServiceDescriptor;
using Lines = std::set<std::string>;

/// Returns the type as a proto file writes it: "string", "regroup.v1.JobSpec".
std::string TypeOf(const FieldDescriptor& field) {
  if (field.message_type() != nullptr) return field.message_type()->full_name();
  if (field.enum_type() != nullptr) return field.enum_type()->full_name();
  return field.type_name();
}

std::string LineOf(const FieldDescriptor& field) {
  const char* const label = field.is_repeated() ? "repeated " : field.has_optional_keyword() ? "optional " : "";
  const auto* const oneof = field.real_containing_oneof();
  return fmt::format("{} = {}: {}{}{}", field.full_name(), field.number(), label, TypeOf(field),
                     oneof != nullptr ? " in " + oneof->name() : "");
}

void AddEnum(const EnumDescriptor& type, Lines& lines) {
  for (int i = 0; i < type.value_count(); ++i) {
    lines.insert(fmt::format("{}.{} = {}", type.full_name(), type.value(i)->name(), type.value(i)->number()));
  }
}

void AddMessage(const Descriptor& message, Lines& lines) {
  for (int i = 0; i < message.field_count(); ++i) lines.insert(LineOf(*message.field(i)));
  for (int i = 0; i < message.nested_type_count(); ++i) AddMessage(*message.nested_type(i), lines);
  for (int i = 0; i < message.enum_type_count(); ++i) AddEnum(*message.enum_type(i), lines);
}

void AddService(const ServiceDescriptor& service, Lines& lines) {
  for (int i = 0; i < service.method_count(); ++i) {
    const auto& call = *service.method(i);
    lines.insert(fmt::format("{}({}) returns ({}{})", call.full_name(), call.input_type()->full_name(),
                             call.server_streaming() ? "stream " : "", call.output_type()->full_name()));
  }
}

/// Returns everything that clients of JobService and ClusterService can send or receive.
Lines WireFormat() {
  Lines lines;
  for (const FileDescriptor* file :
       {v1::JobSpec::descriptor()->file(), v1::SubmitJobRequest::descriptor()->file(), v1::Worker::descriptor()->file(),
        v1::JobPlan::descriptor()->file(), v1::ErrorReason_descriptor()->file()}) {
    for (int i = 0; i < file->message_type_count(); ++i) AddMessage(*file->message_type(i), lines);
    for (int i = 0; i < file->enum_type_count(); ++i) AddEnum(*file->enum_type(i), lines);
    for (int i = 0; i < file->service_count(); ++i) AddService(*file->service(i), lines);
  }
  return lines;
}

Lines ReadLines(const std::filesystem::path& path) {
  std::ifstream file(path);
  Lines lines;
  for (std::string line; std::getline(file, line);) lines.insert(line);
  return lines;
}

TEST(WireFormat, KeepsWhatEveryReleaseHad) {
  const Lines now = WireFormat();
  if (const char* const path = std::getenv("REGROUP_WIRE_FORMAT")) {
    std::ofstream file(path);
    for (const std::string& line : now) file << line << '\n';
  }
  int releases = 0;
  const std::filesystem::path folder = REGROUP_SOURCE_FOLDER "/tests/contract/released";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const Lines released = ReadLines(entry.path());
    ASSERT_GT(released.size(), 200u) << entry.path();
    for (const std::string& line : released) {
      EXPECT_TRUE(now.contains(line)) << entry.path().filename() << ": removed or changed: " << line;
    }
    ++releases;
  }
  EXPECT_GT(releases, 0);
}

TEST(WireFormat, KnowsFieldsThatAreOptionalRepeatedOrAlternatives) {
  const Lines now = WireFormat();
  EXPECT_THAT(now,
              testing::IsSupersetOf({"regroup.v1.JobSpec.name = 1: string", "regroup.v1.JobState.JOB_STATE_QUEUED = 1",
                                     "regroup.v1.JobService.GetJob(regroup.v1.GetJobRequest) returns "
                                     "(regroup.v1.Job)"}));
}

}  // namespace
}  // namespace regroup
