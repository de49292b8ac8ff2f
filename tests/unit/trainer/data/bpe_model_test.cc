#include "trainer/data/tokenizer/bpe_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "trainer/data/tokenizer/bpe_merging.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

Json Model() {
  return {{"type", "BPE"},
          {"vocab",
           {{"a", 0},
            {"b", 1},
            {"c", 2},
            {"ab", 3},
            {"bc", 4},
            {"abc", 5},
            {"<unk>", 6},
            {"<0xC3>", 7},
            {"<0xA9>", 8},
            {"cab", 9}}},
          {"merges", {"b c", "a b", "a bc"}}};
}

std::vector<int32_t> Encode(const Json& json, std::string_view piece) {
  const auto model = BpeModel::Parse(json);
  EXPECT_TRUE(model.ok()) << model.status();
  std::vector<int32_t> ids, again;
  EXPECT_TRUE((*model)->Encode(piece, ids).ok());
  EXPECT_TRUE((*model)->Encode(piece, again).ok());  // From the cache.
  EXPECT_EQ(ids, again);
  return ids;
}

TEST(BpeModelTest, MergesTheSmallestRankFirst) {
  EXPECT_THAT(Encode(Model(), "abc"), ElementsAre(5));
  EXPECT_THAT(Encode(Model(), "abab"), ElementsAre(3, 3));
  EXPECT_THAT(Encode(Model(), "abbc"), ElementsAre(3, 4));
}

TEST(BpeModelTest, MergesTheLeftmostFirstAmongEquals) {
  MergeTable merges(1);
  merges.Set(0, 0, {0, 1});
  EXPECT_THAT(MergeTokens({0, 0, 0}, merges), ElementsAre(1, 0));
}

TEST(BpeModelTest, DropsAnUnknownCharacterWithoutAnUnknownTokenAndMergesItsNeighbours) {
  EXPECT_THAT(Encode(Model(), "axb"), ElementsAre(3));
}

TEST(BpeModelTest, FusesUnknownCharactersOnlyWhereTold) {
  Json json = Model();
  json["unk_token"] = "<unk>";
  EXPECT_THAT(Encode(json, "axyb"), ElementsAre(0, 6, 6, 1));
  json["fuse_unk"] = true;
  EXPECT_THAT(Encode(json, "axyb"), ElementsAre(0, 6, 1));
}

TEST(BpeModelTest, FallsBackToBytesWhereAllOfThemAreTokens) {
  Json json = Model();
  json["byte_fallback"] = true;
  json["unk_token"] = "<unk>";
  EXPECT_THAT(Encode(json, "a\xc3\xa9"), ElementsAre(0, 7, 8));
  EXPECT_THAT(Encode(json, "a\xc3\xa8"), ElementsAre(0, 6));
}

TEST(BpeModelTest, TakesAWholePieceOfTheVocabularyWhereMergesAreIgnored) {
  EXPECT_THAT(Encode(Model(), "cab"), ElementsAre(2, 3));
  Json json = Model();
  json["ignore_merges"] = true;
  EXPECT_THAT(Encode(json, "cab"), ElementsAre(9));
}

TEST(BpeModelTest, ReadsMergesAsPairsToo) {
  Json json = Model();
  json["merges"] = Json::parse(R"([["b", "c"], ["a", "b"], ["a", "bc"]])");
  EXPECT_THAT(Encode(json, "abc"), ElementsAre(5));
}

std::string ErrorOf(const Json& json) {
  const auto model = BpeModel::Parse(json);
  EXPECT_FALSE(model.ok());
  return std::string(model.status().message());
}

TEST(BpeModelTest, NamesWhatIsWrong) {
  Json json = Model();
  json["merges"] = Json::array({"b d"});
  EXPECT_THAT(ErrorOf(json), HasSubstr("\"d\""));
  json["merges"] = Json::array({"b  c"});
  EXPECT_THAT(ErrorOf(json), HasSubstr("not a pair"));
  json = Model();
  json["vocab"]["twin"] = 0;
  EXPECT_THAT(ErrorOf(json), HasSubstr("share the id 0"));
  json = Model();
  json["unk_token"] = "<none>";
  EXPECT_THAT(ErrorOf(json), HasSubstr("<none>"));
  json = Model();
  json["dropout"] = 0.1;
  EXPECT_THAT(ErrorOf(json), HasSubstr("dropout"));
}

TEST(BpeModelTest, TakesAnEmptySettingForNone) {
  Json json = Model();
  json["dropout"] = nullptr;
  json["continuing_subword_prefix"] = "";
  json["end_of_word_suffix"] = nullptr;
  EXPECT_TRUE(BpeModel::Parse(json).ok());
}

}  // namespace
}  // namespace regroup
