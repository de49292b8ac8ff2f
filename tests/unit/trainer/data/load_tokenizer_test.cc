#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "trainer/data/tokenizer.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kTokenizer[] = R"({"added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
  "decoder": null, "model": {"type": "BPE", "vocab": {"a": 0, "<s>": 1, "</s>": 2}, "merges": []}})";

std::optional<int32_t> EosOf(const TemporaryFolder& folder) {
  const auto tokenizer = LoadTokenizer(folder.path());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return (*tokenizer)->eos_id();
}

std::string ErrorOf(const TemporaryFolder& folder, absl::StatusCode code) {
  const auto tokenizer = LoadTokenizer(folder.path());
  EXPECT_EQ(tokenizer.status().code(), code) << tokenizer.status();
  return std::string(tokenizer.status().message());
}

TEST(LoadTokenizerTest, FindsTheEndTokenInTheFirstFileThatNamesIt) {
  TemporaryFolder folder;
  folder.Write("tokenizer.json", kTokenizer);
  EXPECT_EQ(EosOf(folder), std::nullopt);
  folder.Write("config.json", R"({"eos_token_id": [1, 2]})");
  EXPECT_EQ(EosOf(folder), 1);
  folder.Write("tokenizer_config.json", R"({"eos_token": "a"})");
  EXPECT_EQ(EosOf(folder), 0);
  folder.Write("tokenizer_config.json", R"({"eos_token": null})");
  EXPECT_EQ(EosOf(folder), std::nullopt);
  folder.Write("special_tokens_map.json", R"({"eos_token": {"content": "</s>"}})");
  EXPECT_EQ(EosOf(folder), 2);
  folder.Write("tokenizer_config.json", R"({"eos_token": "a", "added_tokens_decoder": {}})");
  EXPECT_EQ(EosOf(folder), 0);
}

TEST(LoadTokenizerTest, AddsTheTokensOfTheOtherFiles) {
  TemporaryFolder folder;
  folder.Write("tokenizer.json", kTokenizer);
  folder.Write(
      "tokenizer_config.json",
      R"({"eos_token": "<end>", "pad_token": "<s>", "extra_special_tokens": ["<z>", "<y>"], "x_token": "<x>"})");
  folder.Write("added_tokens.json", R"({"<t>": 3})");
  const auto tokenizer = LoadTokenizer(folder.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocabulary_size(), 8);
  EXPECT_EQ((*tokenizer)->eos_id(), 4);
  EXPECT_THAT(*(*tokenizer)->Encode("a<t><end><x><z><y><s>"), ElementsAre(0, 3, 4, 5, 6, 7, 1));
}

TEST(LoadTokenizerTest, RefusesATokenWhoseIdIsNotTheNext) {
  TemporaryFolder folder;
  folder.Write("tokenizer.json", kTokenizer);
  folder.Write("added_tokens.json", R"({"<t>": 9})");
  EXPECT_THAT(ErrorOf(folder, absl::StatusCode::kInvalidArgument),
              HasSubstr("added_tokens.json: added token \"<t>\" has id 9, but 3 is expected"));
  folder.Write("added_tokens.json", R"({"<t>": "x"})");
  EXPECT_THAT(ErrorOf(folder, absl::StatusCode::kInvalidArgument), HasSubstr("added_tokens.json: \"<t>\""));
  folder.Write("tokenizer_config.json", R"({"added_tokens_decoder": {"3": "<t>"}})");
  EXPECT_THAT(ErrorOf(folder, absl::StatusCode::kInvalidArgument), HasSubstr("tokenizer_config.json: \"added"));
  folder.Write("tokenizer_config.json", R"({"split_special_tokens": true})");
  EXPECT_THAT(ErrorOf(folder, absl::StatusCode::kUnimplemented), HasSubstr("\"split_special_tokens\": true"));
}

TEST(LoadTokenizerTest, NamesTheFileWhoseExpressionGivesUpOnAText) {
  TemporaryFolder folder;
  std::string content = kTokenizer;
  const std::string none = "\"pre_tokenizer\": null";
  content.replace(content.find(none), none.size(),
                  R"("pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+a+)+[yz]"}, "behavior": "Isolated",
                     "invert": false})");
  folder.Write("tokenizer.json", content);
  const auto tokenizer = LoadTokenizer(folder.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto ids = (*tokenizer)->Encode(std::string(60, 'a'));
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(ids.status().message()), HasSubstr((folder.path() / "tokenizer.json").string() + ": "));
}

TEST(LoadTokenizerTest, NamesTheFileThatIsMissingOrBroken) {
  TemporaryFolder folder;
  EXPECT_THAT(ErrorOf(folder, absl::StatusCode::kNotFound), HasSubstr("tokenizer.model"));
  folder.Write("tokenizer.json", "{");
  EXPECT_THAT(ErrorOf(folder, absl::StatusCode::kInvalidArgument), HasSubstr("tokenizer.json"));
  folder.Write("tokenizer.json", R"({"model": {"type": "WordPiece"}})");
  EXPECT_THAT(ErrorOf(folder, absl::StatusCode::kUnimplemented), HasSubstr("tokenizer.json: model \"WordPiece\""));
  folder.Write("tokenizer.model", "this is not a model");
  EXPECT_THAT(ErrorOf(folder, absl::StatusCode::kInvalidArgument), HasSubstr("tokenizer.model"));
}

}  // namespace
}  // namespace regroup
