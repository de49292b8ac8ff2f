#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "job_builder.h"
#include "services/common/job_file/job_file.h"
#include "services/common/job_file/resolve_job_spec.h"

namespace regroup {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::HasSubstr;

void ExpectReadsBack(const v1::JobSpec& spec) {
  const std::string text = FormatJobFile(spec);
  const auto again = ParseJobFile(text, "/job.yaml");
  ASSERT_TRUE(again.ok()) << again.status() << "\n" << text;
  EXPECT_TRUE(MessageDifferencer::Equals(spec, *again)) << text;
}

TEST(FormatJobFile, WritesOneKeyALineInTheOrderOfTheContract) {
  v1::JobSpec spec;
  spec.set_name("a");
  spec.mutable_target()->set_kv_heads(2);
  spec.mutable_finetune()->set_learning_rate(1e-5);
  spec.mutable_sweep()->add_kv_heads(4);
  spec.mutable_sweep()->add_kv_heads(2);
  spec.mutable_sweep()->add_layerwise("none");
  spec.mutable_sweep()->add_layerwise("distill");
  spec.mutable_layerwise()->set_layers_per_task(4);
  spec.mutable_layerwise()->set_map_weight(0.5);
  EXPECT_EQ(FormatJobFile(spec),
            "name: a\ntarget:\n  kv_heads: 2\nlayerwise:\n  map_weight: 0.5\n  layers_per_task: 4\nfinetune:\n"
            "  learning_rate: 1.0e-05\nsweep:\n  kv_heads: [4, 2]\n  layerwise: [none, distill]\n");
}

TEST(FormatJobFile, AResolvedJobReadsBackEqual) {
  v1::JobSpec spec = GoodJob();
  ExpectReadsBack(ResolveJobSpec(spec));
  spec.set_recipe("best");
  ExpectReadsBack(ResolveJobSpec(spec));
  spec.mutable_sweep()->add_layerwise("none");
  ExpectReadsBack(ResolveJobSpec(spec));
}

TEST(FormatJobFile, ListsOfDataReadBackEqual) {
  v1::JobSpec spec = GoodJob();
  spec.mutable_calibration()->clear_data();
  for (const char* name : {"/data/a b.jsonl", "/data/[0-9]*.jsonl"}) spec.mutable_calibration()->add_data_files(name);
  ExpectReadsBack(ResolveJobSpec(spec));
}

TEST(FormatJobFile, TextsThatLookLikeSomethingElseReadBackAsTexts) {
  for (const char* text : {"",       "true", "No",         "null",        "~",         "1.5",     "-",        "- a",
                           "a: b",   "a #b", "\"quoted\"", "back\\slash", "tab\there", "ünïcode", " leading", "&anchor",
                           "*alias", "!tag", "{",          "[",           "%",         "@",       "'"}) {
    v1::JobSpec spec = GoodJob();
    (*spec.mutable_labels())["key"] = text;
    (*spec.mutable_labels())[text] = "value";
    ExpectReadsBack(spec);
  }
}

TEST(FormatJobFile, NumbersReadBackToTheLastBit) {
  for (const double rate : {1.0, 0.1, 1e-5, 1.0 / 3.0, 2.2250738585072014e-308, 123456789.123}) {
    v1::JobSpec spec;
    spec.mutable_finetune()->set_learning_rate(rate);
    const auto again = ParseJobFile(FormatJobFile(spec), "/job.yaml");
    ASSERT_TRUE(again.ok()) << FormatJobFile(spec);
    EXPECT_EQ(again->finetune().learning_rate(), rate);
  }
}

TEST(FormatJobFile, EmptySectionsStayPresent) {
  v1::JobSpec spec;
  spec.mutable_refine();
  spec.mutable_evaluation()->add_multiple_choice();
  ExpectReadsBack(spec);
}

TEST(FormatJobFile, ListsOfSectionsReadBackEqual) {
  v1::JobSpec spec = GoodJob();
  for (const char* name : {"a", "b"}) {
    v1::Evaluation::MultipleChoice& set = *spec.mutable_evaluation()->add_multiple_choice();
    set.set_name(name);
    set.set_data("/data/with space.jsonl");
  }
  ExpectReadsBack(spec);
}

}  // namespace
}  // namespace regroup
