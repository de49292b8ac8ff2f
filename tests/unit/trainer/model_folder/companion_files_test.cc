#include "trainer/model_folder/companion_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <set>
#include <string>

#include "services/common/base/files.h"
#include "tests/unit/trainer/checkpoint/temporary_folder.h"

namespace regroup {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

class CompanionFilesTest : public testing::Test {
 protected:
  void Write(const std::string& name, std::string_view content = "content") {
    std::filesystem::create_directories((folder_.path() / name).parent_path());
    folder_.Write(name, std::string(content));
  }

  /// Copies the companions and returns their names.
  std::set<std::string> Copied(const json& config = json::object()) const {
    const TemporaryFolder copies;
    const absl::Status copied = CopyCompanionFiles(config, folder_.path(), copies.path());
    EXPECT_TRUE(copied.ok()) << copied;
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(copies.path())) {
      if (entry.is_regular_file()) names.insert(entry.path().lexically_relative(copies.path()));
    }
    return names;
  }

  absl::Status Check(const json& config = json::object()) const { return CheckCompanionFiles(config, folder_.path()); }

  TemporaryFolder folder_;
};

using Names = std::set<std::string>;

TEST_F(CompanionFilesTest, CopiesLicencesTokenizersAndTemplatesByTheirNames) {
  const Names kept = {"LICENSE",
                      "LICENSE-BASE.txt",
                      "license_of_base.md",
                      "NOTICE.md",
                      "tokenizer.model",
                      "tokenizer.model.v3",
                      "additional_chat_templates/rag.jinja"};
  for (const std::string& name : kept) Write(name);
  for (const char* name : {"licenses.csv", ".env", "token", "noticed", "train.py", "additional_chat_templates/key.txt",
                           "additional_chat_templates/.hidden.jinja", "tokenizer.model.a b", "license.d/key"}) {
    Write(name);
  }
  EXPECT_EQ(Copied(), kept);
}

TEST_F(CompanionFilesTest, CopiesTheModulesOfAnAutoMapAndThoseThatTheyImport) {
  Write("configuration_x.py", "import torch\n");
  Write("modeling_x.py",
        "from .configuration_x import A\n  from .deep import (B)\nimport .plain\nfrom torch import nn\n");
  Write("deep.py",
        "from .modeling_x import C\nfrom . import sub\nfrom .sub.module import D\n# from .comment import E\n");
  Write("plain.py");
  Write("slow.py");
  for (const char* name : {"sub.py", "comment.py", "elsewhere.py", "train.py", "sub/module.py"}) Write(name);
  Write("tokenizer_config.json", R"({"auto_map": {"AutoTokenizer": ["slow.Slow", null]}})");
  const json map = {{"AutoConfig", "configuration_x.A"},
                    {"AutoModel", "modeling_x.B"},
                    {"AutoModelForCausalLM", "other/repository--elsewhere.C"},
                    {"AutoProcessor", "../train.D"},
                    {"AutoOther", "not_there.E"}};
  EXPECT_EQ(Copied({{"auto_map", map}}),
            (Names{"configuration_x.py", "deep.py", "modeling_x.py", "plain.py", "slow.py", "tokenizer_config.json"}));
  EXPECT_EQ(Copied(), (Names{"slow.py", "tokenizer_config.json"}));
  for (const json& odd : {json(3), json({3}), json({{"A", 3}}), json({{"A", ""}}), json({{"A", {{"b", "c.d"}}}})}) {
    EXPECT_EQ(Copied({{"auto_map", odd}}), (Names{"slow.py", "tokenizer_config.json"})) << odd;
  }
}

TEST_F(CompanionFilesTest, RefusesLinksThatLeaveTheFolder) {
  const TemporaryFolder others;
  others.Write("rag.jinja", "of others");
  others.Write("code.py", "");
  std::filesystem::create_directory_symlink(others.path(), folder_.path() / "additional_chat_templates");
  EXPECT_EQ(Check().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(Check().message()), HasSubstr("additional_chat_templates/rag.jinja"));
  std::filesystem::remove(folder_.path() / "additional_chat_templates");
  EXPECT_TRUE(Check().ok());
  std::filesystem::create_symlink(others.path() / "code.py", folder_.path() / "code.py");
  EXPECT_TRUE(Check().ok());
  const absl::Status code = Check({{"auto_map", {{"AutoModel", "code.X"}}}});
  EXPECT_EQ(code.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(code.message()), HasSubstr("code.py"));
}

TEST_F(CompanionFilesTest, RefusesTooManyAndTooLargeFilesAndWhatIsNoFile) {
  for (int i = 0; i < 256; ++i) Write("additional_chat_templates/" + std::to_string(i) + ".jinja");
  EXPECT_THAT(std::string(Check().message()), AllOf(HasSubstr(folder_.path().string()), HasSubstr("256")));
  std::filesystem::remove_all(folder_.path() / "additional_chat_templates");
  Write("big.py");
  std::filesystem::resize_file(folder_.path() / "big.py", uint64_t{5} << 20);
  EXPECT_THAT(std::string(Check({{"auto_map", {{"AutoModel", "big.X"}}}}).message()), HasSubstr("big.py has 5242880"));
  ASSERT_EQ(mkfifo((folder_.path() / "NOTICE").c_str(), 0600), 0);
  EXPECT_THAT(std::string(Check().message()), AllOf(HasSubstr("NOTICE"), HasSubstr("FIFO")));
}

}  // namespace
}  // namespace regroup
