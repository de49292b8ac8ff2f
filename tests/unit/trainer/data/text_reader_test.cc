#include "trainer/data/text_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "services/common/base/file_digest.h"
#include "services/common/base/sha256.h"
#include "tests/unit/trainer/checkpoint/temporary_folder.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <typename Reader>
auto FirstOf(const std::filesystem::path& path) {
  auto reader = Reader::Open(path);
  EXPECT_TRUE(reader.ok()) << reader.status();
  return reader->Next();
}

template <typename Reader>
std::string ErrorOf(const TemporaryFolder& folder, std::string_view line) {
  const auto record = FirstOf<Reader>(folder.Write("x.jsonl", line));
  EXPECT_EQ(record.status().code(), absl::StatusCode::kInvalidArgument) << line;
  return std::string(record.status().message());
}

TEST(TextReaderTest, ReadsTextsAndSkipsBlankLines) {
  TemporaryFolder folder;
  auto reader =
      TextReader::Open(folder.Write("x.jsonl", "{\"text\": \"a\"}\n\n  \r\n{\"text\": \"b\\u00e9\", \"n\": 1}"));
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(**reader->Next(), "a");
  EXPECT_EQ(**reader->Next(), "bé");
  EXPECT_EQ(*reader->Next(), std::nullopt);
}

TEST(TextReaderTest, NamesFileLineAndField) {
  TemporaryFolder folder;
  EXPECT_THAT(ErrorOf<TextReader>(folder, "\n{\"body\": \"a\"}"),
              HasSubstr("x.jsonl:2: the field \"text\" is missing; found \"body\""));
  EXPECT_THAT(ErrorOf<TextReader>(folder, "{\"text\": 3}"), HasSubstr("must be a string"));
  EXPECT_THAT(ErrorOf<TextReader>(folder, "{\"text\": \"a\""), HasSubstr("x.jsonl:1: the line is not valid JSON"));
  EXPECT_THAT(ErrorOf<TextReader>(folder, "{\"text\": \"\xff\"}"), HasSubstr("UTF-8"));
  EXPECT_THAT(ErrorOf<TextReader>(folder, "[1]"), HasSubstr("object"));
}

TEST(TextReaderTest, ReadsTheTextOfAnotherField) {
  TemporaryFolder folder;
  const auto path = folder.Write("x.jsonl", "{\"text\": \"a\", \"body\": \"b\"}\n{\"text\": \"c\"}\n");
  auto reader = TextReader::Open(path, "body");
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(**reader->Next(), "b");
  EXPECT_THAT(std::string(reader->Next().status().message()),
              HasSubstr("x.jsonl:2: the field \"body\" is missing; found \"text\"; the key `field`"));
}

TEST(TextReaderTest, PrefersTheTextToAConversation) {
  TemporaryFolder folder;
  const std::string line = R"({"messages": [{"role": "user", "content": "a"}], "text": ["a"]})";
  EXPECT_THAT(ErrorOf<TextReader>(folder, line), HasSubstr("\"text\" must be a string"));
}

TEST(TextReaderTest, SaysThatThereIsNoChatTemplate) {
  TemporaryFolder folder;
  EXPECT_THAT(ErrorOf<TextReader>(folder, R"({"messages": [{"role": "user", "content": "a"}]})"),
              HasSubstr("x.jsonl:1: the conversation in \"messages\": there is no chat template"));
}

TEST(TextReaderTest, NamesAFileThatCannotBeOpened) {
  TemporaryFolder folder;
  EXPECT_EQ(TextReader::Open(folder.path() / "no.jsonl").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(TextReader::Open(folder.path()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TextReaderTest, ReadsLinesThatAreLongerThanItsBuffer) {
  TemporaryFolder folder;
  std::string content;
  for (const size_t size : {size_t{1}, size_t{300'000}, size_t{262'132}, size_t{1'000'000}}) {
    content += "{\"text\": \"" + std::string(size, 'x') + "\"}\n";
  }
  auto reader = TextReader::Open(folder.Write("x.jsonl", content));
  ASSERT_TRUE(reader.ok());
  for (const size_t size : {size_t{1}, size_t{300'000}, size_t{262'132}, size_t{1'000'000}}) {
    EXPECT_EQ((**reader->Next()).size(), size);
  }
  EXPECT_EQ(*reader->Next(), std::nullopt);
  EXPECT_EQ(reader->lines().bytes_read(), reader->lines().file_bytes());
}

TEST(TextReaderTest, RefusesALineAboveTheBoundWithoutKeepingIt) {
  TemporaryFolder folder;
  const std::filesystem::path path = folder.Write("endless.jsonl", "{\"text\": \"a\"}\n");
  std::filesystem::resize_file(path, uintmax_t{64} << 30);
  auto reader = TextReader::Open(path);
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(**reader->Next(), "a");
  const auto next = reader->Next();
  EXPECT_EQ(next.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(next.status().message()),
              HasSubstr("endless.jsonl:2: the line has more than 16777216 bytes"));
}

TEST(TextReaderTest, SaysThatAFileBecameShorter) {
  TemporaryFolder folder;
  std::string content;
  for (int line = 0; line < 100'000; ++line) content += "{\"text\": \"a\"}\n";
  const std::filesystem::path path = folder.Write("x.jsonl", content);
  auto reader = TextReader::Open(path);
  ASSERT_TRUE(reader.ok());
  ASSERT_TRUE(reader->Next().ok());
  std::filesystem::resize_file(path, 1000);
  auto record = reader->Next();
  while (record.ok() && record->has_value()) record = reader->Next();
  EXPECT_EQ(record.status().code(), absl::StatusCode::kDataLoss)
      << "the end of a shorter file is not the end of the text";
  EXPECT_THAT(std::string(record.status().message()), HasSubstr("x.jsonl became shorter"));
}

TEST(TextReaderTest, RefusesAFifoWithoutWaiting) {
  TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder.path() / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(TextReader::Open(folder.path() / "fifo").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FileDigest(folder.path() / "fifo").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(InstructionReaderTest, ReadsPromptAndCompletion) {
  TemporaryFolder folder;
  const auto record = FirstOf<InstructionReader>(folder.Write("x.jsonl", R"({"prompt": "p", "completion": "c"})"));
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ((*record)->prompt, "p");
  EXPECT_EQ((*record)->completion, "c");
  EXPECT_THAT(ErrorOf<InstructionReader>(folder, R"({"prompt": "p"})"), HasSubstr("\"completion\""));
}

TEST(InstructionReaderTest, TextsAndInstructionsInEachOthersPlaceAreNamedWithTheLossThatReadsThem) {
  TemporaryFolder folder;
  EXPECT_THAT(ErrorOf<InstructionReader>(folder, "\n{\"text\": \"a\"}"),
              testing::AllOf(HasSubstr("x.jsonl:2: the line has a \"text\""), HasSubstr("loss: kl reads texts")));
  EXPECT_THAT(ErrorOf<TextReader>(folder, R"({"prompt": "p", "completion": "c"})"),
              testing::AllOf(HasSubstr("x.jsonl:1: "), HasSubstr("finetune.loss: bild"), HasSubstr("\"text\"")));
}

TEST(MultipleChoiceReaderTest, ReadsContextChoicesAndLabel) {
  TemporaryFolder folder;
  const auto record =
      FirstOf<MultipleChoiceReader>(folder.Write("x.jsonl", R"({"context": "q", "choices": ["a", "b"], "label": 1})"));
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ((*record)->context, "q");
  EXPECT_THAT((*record)->choices, ElementsAre("a", "b"));
  EXPECT_EQ((*record)->label, 1);
}

TEST(MultipleChoiceReaderTest, RefusesALabelOutsideTheChoicesAndTooFewChoices) {
  TemporaryFolder folder;
  for (const char* label : {"2", "-1", "1.0", "\"a\"", "18446744073709551615"}) {
    const std::string line = std::string(R"({"context": "q", "choices": ["a", "b"], "label": )") + label + "}";
    EXPECT_THAT(ErrorOf<MultipleChoiceReader>(folder, line), HasSubstr("0 to 1"));
  }
  EXPECT_THAT(ErrorOf<MultipleChoiceReader>(folder, R"({"context": "q", "choices": ["a"], "label": 0})"),
              HasSubstr("at least two"));
  EXPECT_THAT(ErrorOf<MultipleChoiceReader>(folder, R"({"context": "q", "choices": ["a", 2], "label": 0})"),
              HasSubstr("at least two"));
}

TEST(FileDigestTest, IsTheDigestOfTheBytes) {
  TemporaryFolder folder;
  std::string content(3'000'000, 'x');
  content[2'500'000] = 'y';
  EXPECT_EQ(*FileDigest(folder.Write("x", content)), Sha256Of(content));
  EXPECT_EQ(*FileDigest(folder.Write("x", "abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(FileDigest(folder.path() / "no").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace regroup
