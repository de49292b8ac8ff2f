#include "trainer/data/tokenizer/unigram_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

Json UnigramTree() {
  return Json::parse(R"({"type": "Unigram", "unk_id": 0,
    "vocab": [["<unk>", 0], ["a", -1], ["b", -1.5], ["ab", -2], ["aba", -2.25], ["é", -3]]})");
}

absl::StatusOr<std::vector<int32_t>> EncodeByUnigram(const Json& json, std::string_view piece) {
  const auto model = ParsePieceModel(json);
  EXPECT_TRUE(model.ok()) << model.status();
  std::vector<int32_t> ids;
  const absl::Status status = (*model)->Encode(piece, ids);
  if (!status.ok()) return status;
  return ids;
}

std::string UnigramError(const Json& json) {
  const auto model = ParsePieceModel(json);
  EXPECT_FALSE(model.ok());
  return std::string(model.status().message());
}

TEST(UnigramModelTest, TakesTheTokensWithTheLargestSumOfScores) {
  EXPECT_THAT(*EncodeByUnigram(UnigramTree(), "ab"), ElementsAre(3));
  // "ab", "a" has -3, and "aba" has -2.25.
  EXPECT_THAT(*EncodeByUnigram(UnigramTree(), "aba"), ElementsAre(4));
  // "aba", "b" has -3.75, and "ab", "ab" has -4.
  EXPECT_THAT(*EncodeByUnigram(UnigramTree(), "abab"), ElementsAre(4, 2));
  EXPECT_THAT(*EncodeByUnigram(UnigramTree(), "éb"), ElementsAre(5, 2));
  EXPECT_THAT(*EncodeByUnigram(UnigramTree(), ""), ElementsAre());
}

TEST(UnigramModelTest, WritesOneUnknownTokenForARunOfUnknownCharacters) {
  EXPECT_THAT(*EncodeByUnigram(UnigramTree(), "axyöb"), ElementsAre(1, 0, 2));
}

TEST(UnigramModelTest, FallsBackToBytesWhereAllOfARunAreTokens) {
  Json json = UnigramTree();
  json["byte_fallback"] = true;
  json["vocab"].push_back(Json::array({"<0x78>", 0.0}));
  EXPECT_THAT(*EncodeByUnigram(json, "axx"), ElementsAre(1, 6, 6));
  EXPECT_THAT(*EncodeByUnigram(json, "axö"), ElementsAre(1, 0));
}

TEST(UnigramModelTest, NamesACharacterThatAModelWithoutUnknownTokenCannotExpress) {
  Json json = UnigramTree();
  json["unk_id"] = nullptr;
  EXPECT_THAT(*EncodeByUnigram(json, "ab"), ElementsAre(3));
  const auto ids = EncodeByUnigram(json, "aö");
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ids.status().message()), HasSubstr("\"ö\""));
}

TEST(UnigramModelTest, IsKnownByItsListWhereTheTypeIsMissing) {
  Json json = UnigramTree();
  json.erase("type");
  EXPECT_THAT(*EncodeByUnigram(json, "ab"), ElementsAre(3));
}

TEST(UnigramModelTest, NamesWhatIsWrong) {
  Json json = UnigramTree();
  json["vocab"].push_back(Json::array({"c"}));
  EXPECT_THAT(UnigramError(json), HasSubstr("entry 6 of vocab"));
  json = UnigramTree();
  json["vocab"].push_back(Json::array({"ab", -1.0}));
  EXPECT_THAT(UnigramError(json), HasSubstr("\"ab\" has two ids"));
  json = UnigramTree();
  json["unk_id"] = 6;
  EXPECT_THAT(UnigramError(json), HasSubstr("unk_id 6"));
  json = UnigramTree();
  json["alpha"] = 0.1;
  EXPECT_THAT(UnigramError(json), HasSubstr("\"alpha\""));
  json = UnigramTree();
  json["vocab"] = Json::array();
  EXPECT_THAT(UnigramError(json), HasSubstr("vocab is empty"));
}

TEST(PieceModelTest, NamesATypeThatIsNotSupportedAndWhatToDo) {
  for (const char* type : {"WordPiece", "WordLevel"}) {
    const auto model = ParsePieceModel({{"type", type}, {"vocab", Json::object({{"a", 0}})}});
    EXPECT_EQ(model.status().code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(std::string(model.status().message()), HasSubstr(type));
    EXPECT_THAT(std::string(model.status().message()), HasSubstr("use a checkpoint"));
  }
  EXPECT_THAT(UnigramError({{"vocab", Json::object({{"a", 0}})}}), HasSubstr("WordPiece"));
}

}  // namespace
}  // namespace regroup
