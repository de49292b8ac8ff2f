#include "services/common/job_file/allowed_paths.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <set>

namespace regroup {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class AllowedPathsTest : public ::testing::Test {
 protected:
  AllowedPathsTest() {
    std::string pattern = (fs::temp_directory_path() / "roots_XXXXXX").string();
    folder_ = fs::canonical(mkdtemp(pattern.data()));
    for (const char* name : {"data", "data-of-others", "results"}) fs::create_directory(folder_ / name);
    allowed_ = {{folder_ / "data"}, {folder_ / "results"}};
    spec_.mutable_source()->set_checkpoint(folder_ / "data/model");
    spec_.mutable_output()->set_checkpoint(folder_ / "results/model");
  }
  ~AllowedPathsTest() override { fs::remove_all(folder_); }

  std::vector<std::string> RefusedFields() const {
    std::vector<std::string> fields;
    for (const FieldViolation& violation : CheckAllowedPaths(spec_, allowed_)) fields.push_back(violation.field());
    return fields;
  }
  std::vector<std::string> RefusedSource(const fs::path& path) {
    spec_.mutable_source()->set_checkpoint(path);
    return RefusedFields();
  }

  fs::path folder_;
  AllowedPaths allowed_;
  v1::JobSpec spec_;
};

TEST_F(AllowedPathsTest, LetPathsUnderARootPassWhetherTheyExistOrNot) {
  EXPECT_THAT(RefusedFields(), IsEmpty());
  EXPECT_THAT(RefusedSource(folder_ / "data"), IsEmpty());
  EXPECT_THAT(RefusedSource(folder_ / "data" / ""), IsEmpty());
  allowed_.data_roots = {"/nowhere", (folder_ / "data").string() + "/"};
  EXPECT_THAT(RefusedFields(), IsEmpty());
}

TEST_F(AllowedPathsTest, RefuseEveryWayOut) {
  const std::string data = (folder_ / "data").string();
  for (const std::string& path : {std::string("/etc/passwd"), data + "-of-others/model", data + "/../results/model",
                                  data + "/./../data-of-others", std::string("/"), folder_.string()}) {
    EXPECT_THAT(RefusedSource(path), ElementsAre("source.checkpoint")) << path;
  }
}

TEST_F(AllowedPathsTest, FollowSymbolicLinksToWhereTheyLead) {
  fs::create_symlink("/etc", folder_ / "data/link");
  fs::create_symlink("../data-of-others", folder_ / "data/relative");
  fs::create_symlink("link", folder_ / "data/chain");
  fs::create_symlink("loop", folder_ / "data/loop");
  for (const char* name : {"link", "link/passwd", "relative/new", "chain/passwd", "loop/x"}) {
    EXPECT_THAT(RefusedSource(folder_ / "data" / name), ElementsAre("source.checkpoint")) << name;
  }
  fs::create_directory(folder_ / "data/inside");
  fs::create_symlink("inside", folder_ / "data/harmless");
  EXPECT_THAT(RefusedSource(folder_ / "data/harmless/model"), IsEmpty());
}

TEST_F(AllowedPathsTest, MayBeLinksThemselves) {
  fs::create_directory_symlink(folder_ / "data", folder_ / "alias");
  allowed_.data_roots = {folder_ / "alias"};
  EXPECT_THAT(RefusedFields(), IsEmpty());
}

TEST_F(AllowedPathsTest, TellWhatIsReadFromWhatIsWritten) {
  spec_.mutable_source()->set_checkpoint(folder_ / "results/model");
  spec_.mutable_output()->set_checkpoint(folder_ / "data/model");
  EXPECT_THAT(RefusedFields(), ElementsAre("source.checkpoint", "output.checkpoint"));
  allowed_ = {};
  EXPECT_THAT(RefusedFields(), IsEmpty());
}

/// Text fields that are words or names, never paths.
const std::set<std::string> kWords = {"name",   "recipe",      "method",    "compare",   "similarity", "precision",
                                      "device", "train",       "recompute", "teacher",   "alignment",  "finetune",
                                      "key",    "value",       "labels",    "per_layer", "loss",       "layerwise",
                                      "field",  "cache_dtype", "prompts",   "shard"};

/// Writes a path into every other text field of the message.
int FillPaths(google::protobuf::Message* message) {
  int filled = 0;
  const auto* reflection = message->GetReflection();
  for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
    const auto* field = message->GetDescriptor()->field(i);
    if (field->is_map()) continue;
    if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) {
      filled += FillPaths(field->is_repeated() ? reflection->AddMessage(message, field)
                                               : reflection->MutableMessage(message, field));
    } else if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING &&
               !kWords.contains(field->name())) {
      if (field->is_repeated()) {
        reflection->AddString(message, field, "/outside");
      } else {
        reflection->SetString(message, field, "/outside");
      }
      ++filled;
    }
  }
  return filled;
}

TEST(PathFields, AreAllTextFieldsThatAreNoWords) {
  v1::JobSpec spec;
  const int filled = FillPaths(&spec);
  EXPECT_EQ(filled, 12) << "source, two of calibration, layerwise and finetune, three of evaluation, two of output";
  const auto violations = CheckAllowedPaths(spec, {{"/data"}, {"/results"}});
  EXPECT_EQ(violations.size(), static_cast<size_t>(filled)) << "a new path: add it to ForEachPath; a word: to kWords";
}

TEST_F(AllowedPathsTest, AreNotHeldAgainstAddressesWhichHavePrefixesOfTheirOwn) {
  spec_.mutable_source()->set_checkpoint("hf://org/model");
  spec_.mutable_calibration()->set_data("s3://bucket/texts");
  EXPECT_THAT(RefusedFields(), ElementsAre("source.checkpoint", "calibration.data"));
  EXPECT_THAT(CheckAllowedPaths(spec_, allowed_).front().description(), HasSubstr("this cluster allows none"));
  allowed_.address_prefixes = {"hf://org/"};
  EXPECT_THAT(RefusedFields(), ElementsAre("calibration.data"));
  EXPECT_THAT(CheckAllowedPaths(spec_, allowed_).front().description(), HasSubstr("allowed: hf://org/"));
  allowed_.address_prefixes.emplace_back("s3://bucket");
  EXPECT_THAT(RefusedFields(), IsEmpty());
}

TEST_F(AllowedPathsTest, AreDoubtedIfTheyCannotBeMeant) {
  EXPECT_THAT(DoubtsAbout(allowed_, folder_ / "work"), IsEmpty());
  EXPECT_THAT(DoubtsAbout(allowed_, ""), IsEmpty());
  allowed_.data_roots.push_back(folder_ / "dta");
  EXPECT_THAT(DoubtsAbout(allowed_, ""), ElementsAre(HasSubstr("dta is not a folder of this machine")));
  allowed_ = {{folder_}, {}};
  EXPECT_THAT(DoubtsAbout(allowed_, folder_ / "results/work"), ElementsAre(HasSubstr("holds the working folder")));
}

}  // namespace
}  // namespace regroup
