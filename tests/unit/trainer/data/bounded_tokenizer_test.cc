#include "trainer/data/bounded_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class BoundedTokenizerTest : public ::testing::Test {
 protected:
  BoundedTokenizerTest() {
    folder_.Write("tokenizer.json", R"({"added_tokens": [], "normalizer": null, "pre_tokenizer": null,
      "post_processor": null, "decoder": null,
      "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "</s>": 2}, "merges": []}})");
    folder_.Write("added_tokens.json", R"({"<x>": 3})");
  }

  TemporaryFolder folder_;
};

TEST_F(BoundedTokenizerTest, NamesATokenOfTheTextThatTheModelDoesNotHave) {
  const auto tokenizer = LoadBoundedTokenizer(folder_.path(), 3);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT(*(*tokenizer)->Encode("ab"), ElementsAre(0, 1));
  for (const auto& ids : {(*tokenizer)->Encode("a<x>"), (*tokenizer)->EncodeOrdinary("a<x>")}) {
    EXPECT_EQ(ids.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(ids.status().message()),
                HasSubstr("token \"<x>\" has id 3, but the model has vocab_size 3"));
  }
  EXPECT_EQ((*tokenizer)->vocabulary_size(), 4);
}

TEST_F(BoundedTokenizerTest, LeavesAModelThatIsLargerThanItsTokenizerAlone) {
  for (const int64_t vocabulary : {4, 64}) {
    const auto tokenizer = LoadBoundedTokenizer(folder_.path(), vocabulary);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    EXPECT_THAT(*(*tokenizer)->Encode("a<x>"), ElementsAre(0, 3));
    EXPECT_EQ(NoteOnTokensBeyond(**tokenizer, vocabulary), "");
  }
}

TEST_F(BoundedTokenizerTest, RefusesAnEndTokenThatTheModelDoesNotHave) {
  folder_.Write("tokenizer_config.json", R"({"eos_token": "<x>"})");
  const auto tokenizer = LoadBoundedTokenizer(folder_.path(), 3);
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr(folder_.path().string() + ": every text gets"));
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("\"<x>\" has id 3"));
}

TEST_F(BoundedTokenizerTest, CountsTheTokensThatTheModelDoesNotHave) {
  folder_.Write("added_tokens.json", R"({"<x>": 3, "<y>": 4})");
  const auto tokenizer = LoadTokenizer(folder_.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT(NoteOnTokensBeyond(**tokenizer, 3),
              HasSubstr("2 tokens more than the model's vocab_size of 3: token \"<x>\""));
  EXPECT_THAT(NoteOnTokensBeyond(**tokenizer, 4), HasSubstr("1 token more"));
}

}  // namespace
}  // namespace regroup
