#include "trainer/data/tokenizer/json_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

/// "hi" is a token, a space is Ġ, and <s> comes before every text.
Json Tree() {
  return Json::parse(R"({
    "added_tokens": [{"id": 0, "content": "<s>", "special": true, "normalized": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"<s>": 0, "h": 1, "i": 2, "Ġ": 3, "hi": 4, "Ã": 5, "©": 6},
              "merges": [["h", "i"]]}})");
}

std::shared_ptr<JsonTokenizer> Parse(const Json& tree) {
  auto tokenizer = JsonTokenizer::Parse(tree);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *tokenizer;
}

TEST(JsonTokenizerTest, EncodesWithAndWithoutPostProcessing) {
  const auto tokenizer = Parse(Tree());
  EXPECT_THAT(*tokenizer->Encode("hi hi"), ElementsAre(0, 4, 3, 4));
  EXPECT_THAT(*tokenizer->EncodeOrdinary("hi hi"), ElementsAre(4, 3, 4));
  EXPECT_THAT(*tokenizer->Encode(""), ElementsAre(0));
  EXPECT_EQ(tokenizer->vocabulary_size(), 7);
}

TEST(JsonTokenizerTest, RecognisesSpecialTokensInTheText) {
  EXPECT_THAT(*Parse(Tree())->EncodeOrdinary("hi<s>i"), ElementsAre(4, 0, 2));
}

TEST(JsonTokenizerTest, DecodesWhatItEncoded) {
  const auto tokenizer = Parse(Tree());
  EXPECT_EQ(*tokenizer->Decode(*tokenizer->Encode("hi h\xc3\xa9")), "<s>hi h\xc3\xa9");
  EXPECT_EQ(*tokenizer->Decode(std::vector<int32_t>{5}), "\xef\xbf\xbd");
  EXPECT_THAT(std::string(tokenizer->Decode(std::vector<int32_t>{99}).status().message()), HasSubstr("99"));
}

TEST(JsonTokenizerTest, RefusesTextThatIsNotUtf8) {
  EXPECT_EQ(Parse(Tree())->Encode("h\xff").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Parse(Tree())->Encode("\xed\xa0\x80").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(JsonTokenizerTest, NormalisesBeforeItCuts) {
  Json tree = Tree();
  tree["normalizer"] = {{"type", "NFC"}};
  EXPECT_THAT(*Parse(tree)->EncodeOrdinary("e\xcc\x81"), ElementsAre(5, 6));
}

TEST(JsonTokenizerTest, NamesTheComponentThatItLacks) {
  for (const char* part : {"normalizer", "pre_tokenizer", "post_processor"}) {
    Json tree = Tree();
    tree[part] = {{"type", "Invented"}};
    const auto tokenizer = JsonTokenizer::Parse(tree);
    EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr(std::string(part) + " \"Invented\""));
  }
}

TEST(JsonTokenizerTest, EncodesThoughItsDecoderIsNotSupported) {
  Json tree = Tree();
  tree["decoder"] = {{"type", "Invented"}};
  const auto tokenizer = Parse(tree);
  EXPECT_TRUE(tokenizer->Encode("hi").ok());
  EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{1}).status().code(), absl::StatusCode::kUnimplemented);
}

TEST(JsonTokenizerTest, RefusesAnAddedTokenWhoseIdIsAmbiguous) {
  Json tree = Tree();
  tree["added_tokens"].push_back({{"id", 7}, {"content", "<x>"}, {"special", true}});
  EXPECT_EQ(Parse(tree)->IdOf("<x>"), 7);
  tree["added_tokens"].push_back({{"id", 20}, {"content", "<y>"}, {"special", true}});
  EXPECT_THAT(std::string(JsonTokenizer::Parse(tree).status().message()), HasSubstr("\"<y>\""));
}

TEST(JsonTokenizerTest, SaysMalformedWhereATypeIsWrong) {
  Json tree = Tree();
  tree["model"]["vocab"]["h"] = "one";
  EXPECT_EQ(JsonTokenizer::Parse(tree).status().code(), absl::StatusCode::kInvalidArgument);
  tree = Tree();
  tree.erase("model");
  EXPECT_EQ(JsonTokenizer::Parse(tree).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(JsonTokenizerTest, TakesNoNumberWithAFractionOrOutOfRangeForAnId) {
  for (const Json& id : {Json(1e300), Json(1.5), Json(-1), Json(uint64_t{1} << 40), Json(true)}) {
    Json tree = Tree();
    tree["model"]["vocab"]["h"] = id;
    EXPECT_EQ(JsonTokenizer::Parse(tree).status().code(), absl::StatusCode::kInvalidArgument) << id;
    tree = Tree();
    tree["added_tokens"][0]["id"] = id;
    EXPECT_EQ(JsonTokenizer::Parse(tree).status().code(), absl::StatusCode::kInvalidArgument) << id;
    tree = Tree();
    tree["post_processor"]["special_tokens"]["<s>"]["ids"][0] = id;
    EXPECT_EQ(JsonTokenizer::Parse(tree).status().code(), absl::StatusCode::kInvalidArgument) << id;
  }
}

TEST(JsonTokenizerTest, RefusesAPostProcessorThatAddsIdsBeyondTheVocabulary) {
  Json tree = Tree();
  tree["post_processor"]["special_tokens"]["<s>"]["ids"][0] = 7;
  EXPECT_THAT(std::string(JsonTokenizer::Parse(tree).status().message()),
              HasSubstr("token 7 is not in the vocabulary"));
}

// Eight rules that each replace a letter by ten would turn one byte into 100 MB.
TEST(JsonTokenizerTest, RefusesANormalizerThatGrowsTheTextWithoutEnd) {
  Json tree = Tree();
  const Json tenfold = {{"type", "Replace"}, {"pattern", {{"String", "h"}}}, {"content", std::string(10, 'h')}};
  tree["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json::array()}};
  for (int i = 0; i < 8; ++i) tree["normalizer"]["normalizers"].push_back(tenfold);
  EXPECT_THAT(std::string(Parse(tree)->Encode("hhhh").status().message()), HasSubstr("would make"));
  tree["normalizer"] = {{"type", "Prepend"}, {"prepend", std::string(5000, 'h')}};
  EXPECT_EQ(Parse(tree)->Encode("h").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(JsonTokenizerTest, RefusesAPreTokenizerThatGrowsTheTextWithoutEnd) {
  Json tree = Tree();
  const Json twofold = {{"type", "Metaspace"}, {"replacement", "  "}, {"prepend_scheme", "never"}, {"split", false}};
  tree["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json::array()}};
  for (int i = 0; i < 40; ++i) tree["pre_tokenizer"]["pretokenizers"].push_back(twofold);
  EXPECT_THAT(std::string(Parse(tree)->Encode("  ").status().message()), HasSubstr("would make"));
}

TEST(JsonTokenizerTest, RefusesADecoderThatStripsNothingForever) {
  Json tree = Tree();
  tree["decoder"] = {{"type", "Strip"}, {"content", ""}, {"start", 2147483647}, {"stop", 0}};
  EXPECT_EQ(Parse(tree)->Decode(std::vector<int32_t>{1}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(JsonTokenizerTest, GivesUpAPatternThatTriesForever) {
  Json tree = Tree();
  tree["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(h+)+(h+)+[ix]"}}}, {"behavior", "Isolated"}, {"invert", false}};
  EXPECT_FALSE(Parse(tree)->Encode(std::string(60, 'h')).ok());
}

}  // namespace
}  // namespace regroup
