#include "trainer/data/token_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// Parameters: the vocabulary size, and true if texts have answers.
class TokenStoreTest : public testing::TestWithParam<std::pair<int64_t, bool>> {
 protected:
  const int64_t vocabulary_ = GetParam().first;
  const bool instructions_ = GetParam().second;
  const int32_t largest_ = vocabulary_ == 0 ? 1'000'000 : static_cast<int32_t>(vocabulary_) - 1;

  void Write() const {
    auto writer = TokenStoreWriter::Create(path_, vocabulary_, instructions_);
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_TRUE(writer->Add(std::vector<int32_t>{5, largest_, 7}, 2).ok());
    ASSERT_TRUE(writer->Add(std::vector<int32_t>{1, 2}, 0).ok());
    ASSERT_TRUE(writer->Finish().ok());
  }
  void ChangeByte(int64_t place) const {
    std::fstream stream(path_, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(place);
    const char byte = static_cast<char>(stream.get() ^ 0x10);
    stream.seekp(place);
    stream.put(byte);
  }

  TemporaryFolder folder_;
  const fs::path path_ = folder_.path() / "x.tokens";
};

TEST_P(TokenStoreTest, HoldsWhatWasWritten) {
  Write();
  const auto store = TokenStore::Open(path_);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_TRUE(store->Verify().ok());
  EXPECT_EQ(store->tokens(), 5);
  EXPECT_EQ(store->texts(), 2);
  std::vector<int64_t> ids(5);
  store->Copy(0, 5, ids.data());
  EXPECT_THAT(ids, ElementsAre(5, largest_, 7, 1, 2));
  std::vector<int32_t> some(2);
  store->Copy(1, 2, some.data());
  EXPECT_THAT(some, ElementsAre(largest_, 7));
  EXPECT_THAT(store->starts(), ElementsAre(0, 3));
  EXPECT_EQ(store->End(0), 3);
  EXPECT_EQ(store->End(1), 5);
  EXPECT_EQ(store->has_answers(), instructions_);
  if (instructions_) {
    EXPECT_THAT(store->answers(), ElementsAre(2, 3));
  }
}

TEST_P(TokenStoreTest, TakesTwoBytesForAnIdWhereTheVocabularyAllows) {
  Write();
  const bool narrow = vocabulary_ > 0 && vocabulary_ <= 65536;
  EXPECT_EQ(fs::file_size(path_), 128 + (narrow ? 16 : 24) + 16 * (instructions_ ? 2 : 1));
}

TEST_P(TokenStoreTest, NoticesAChangedByteAnywhereInWhatItHolds) {
  Write();
  const auto size = static_cast<int64_t>(fs::file_size(path_));
  for (const int64_t place : {int64_t{128}, int64_t{135}, size - 9, size - 1}) {
    ChangeByte(place);
    const auto store = TokenStore::Open(path_);
    ASSERT_TRUE(store.ok());
    EXPECT_EQ(store->Verify().code(), absl::StatusCode::kDataLoss) << place;
    EXPECT_THAT(std::string(store->Verify().message()), HasSubstr(path_.string()));
    ChangeByte(place);
  }
  EXPECT_TRUE(TokenStore::Open(path_)->Verify().ok());
}

TEST_P(TokenStoreTest, RefusesAFileThatIsNotWhole) {
  Write();
  const auto size = fs::file_size(path_);
  for (const auto bytes : {uintmax_t{0}, uintmax_t{50}, uintmax_t{128}, size - 1, size + 1}) {
    fs::resize_file(path_, bytes);
    EXPECT_EQ(TokenStore::Open(path_).status().code(), absl::StatusCode::kDataLoss) << bytes;
  }
}

TEST_P(TokenStoreTest, RefusesAHeaderThatNoWriterMakes) {
  for (const int64_t place : {0, 16, 23, 24, 31, 32, 36}) {
    Write();
    ChangeByte(place);
    EXPECT_EQ(TokenStore::Open(path_).status().code(), absl::StatusCode::kDataLoss) << place;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, TokenStoreTest,
                         testing::Values(std::pair{int64_t{32000}, false}, std::pair{int64_t{65536}, true},
                                         std::pair{int64_t{65537}, true}, std::pair{int64_t{0}, false}));

TEST(TokenStoreWriterTest, WhatIsNotFinishedLeavesNothing) {
  TemporaryFolder folder;
  {
    auto writer = TokenStoreWriter::Create(folder.path() / "x.tokens", 100, false);
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->Add(std::vector<int32_t>{5}, 0).ok());
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(TokenStoreWriterTest, RefusesAnIdOutsideOfTheVocabulary) {
  TemporaryFolder folder;
  auto writer = TokenStoreWriter::Create(folder.path() / "x.tokens", 100, false);
  ASSERT_TRUE(writer.ok());
  EXPECT_FALSE(writer->Add(std::vector<int32_t>{70000}, 0).ok());
  EXPECT_FALSE(writer->Add(std::vector<int32_t>{-1}, 0).ok());
}

TEST(OpenTokenStoreTest, AMissingFileIsNotFound) {
  EXPECT_EQ(TokenStore::Open("/nowhere/x.tokens").status().code(), absl::StatusCode::kNotFound);
}

TEST(OpenTokenStoreTest, InMemoryHasADigestOfItsContent) {
  const TokenStore one = TokenStore::InMemory({1, 2}, {0}, {}), same = TokenStore::InMemory({1, 2}, {0}, {}),
                   other = TokenStore::InMemory({1, 3}, {0}, {});
  EXPECT_EQ(one.digest(), same.digest());
  EXPECT_NE(one.digest(), other.digest());
  EXPECT_TRUE(one.Verify().ok());
  EXPECT_THAT(one.answers(), IsEmpty());
}

}  // namespace
}  // namespace regroup
