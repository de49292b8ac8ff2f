#include "trainer/data/token_windows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <filesystem>

#include "services/common/base/input_file.h"
#include "services/common/base/sha256.h"
#include "tests/unit/trainer/checkpoint/temporary_folder.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Returns one token per byte, a begin token 1000 before each text, and an end token 2000 unless configured otherwise.
class FakeTokenizer : public Tokenizer {
 public:
  explicit FakeTokenizer(std::optional<int32_t> eos = 2000) : eos_(eos) {}
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const override {
    if (text == "bad") return absl::InvalidArgumentError("bad text");
    std::vector<int32_t> ids{1000};
    ids.insert(ids.end(), text.begin(), text.end());
    return ids;
  }
  absl::StatusOr<std::vector<int32_t>> EncodeOrdinary(std::string_view text) const override {
    return std::vector<int32_t>(text.begin(), text.end());
  }
  absl::StatusOr<std::string> Decode(std::span<const int32_t>) const override { return std::string(); }
  std::optional<int32_t> bos_id() const override { return 1000; }
  std::optional<int32_t> eos_id() const override { return eos_; }
  int64_t vocabulary_size() const override { return 2001; }

 private:
  std::optional<int32_t> eos_;
};

TEST(TokenWindowsTest, JoinsTextsWithEndTokensAndDropsTheLastPartialWindow) {
  TemporaryFolder folder;
  const auto path = folder.Write("x.jsonl", "{\"text\": \"ab\"}\n{\"text\": \"c\"}\n{\"text\": \"de\"}\n");
  const auto windows = TokenWindows::Build(path, FakeTokenizer(), {.sequence_length = 4});
  ASSERT_TRUE(windows.ok()) << windows.status();
  EXPECT_EQ(windows->windows(), 2);  // 11 tokens
  EXPECT_THAT(windows->Window(0), ElementsAre(1000, 'a', 'b', 2000));
  EXPECT_THAT(windows->Window(1), ElementsAre(1000, 'c', 2000, 1000));
  EXPECT_EQ(windows->texts(), 3);
}

TEST(TokenWindowsTest, TheDigestIsThatOfTheWindowsAndNotOfTheTextBehindThem) {
  TemporaryFolder folder;
  const std::string some = "{\"text\": \"ab\"}\n{\"text\": \"c\"}\n";
  const auto digest_of = [&folder](const std::string& lines, int64_t length = 4) {
    const auto windows = TokenWindows::Build(folder.Write("x.jsonl", lines), FakeTokenizer(),
                                             {.sequence_length = length, .max_windows = 1});
    EXPECT_TRUE(windows.ok()) << windows.status();
    return windows->Digest();
  };
  EXPECT_EQ(digest_of(some), digest_of(some + "{\"text\": \"another text\"}\n"));
  EXPECT_NE(digest_of(some), digest_of("{\"text\": \"ad\"}\n"));
  EXPECT_NE(digest_of(some), digest_of(some, 3));
}

/// Returns the tokens of all texts that are read.
absl::StatusOr<std::vector<int32_t>> TokensOf(const std::vector<std::filesystem::path>& files,
                                              const TokeniseOptions& options, std::vector<std::string>* digests) {
  std::vector<int32_t> tokens;
  const auto take = [&](const TokenisedText& text) {
    tokens.insert(tokens.end(), text.ids.begin(), text.ids.end());
    return absl::OkStatus();
  };
  auto read = Tokenise(files, FakeTokenizer(), options, take);
  if (!read.ok()) return read.status();
  *digests = *std::move(read);
  return tokens;
}

TEST(TokeniseTest, ReadsFilesInTheirOrderAndDigestsEachUpToItsEnd) {
  TemporaryFolder folder;
  const std::string a = "{\"text\": \"a\"}\n", b = "{\"text\": \"b\"}";
  const auto first = folder.Write("b.jsonl", b), second = folder.Write("a.jsonl", a);
  std::vector<std::string> digests;
  EXPECT_THAT(*TokensOf({first, second}, {}, &digests), ElementsAre(1000, 'b', 2000, 1000, 'a', 2000));
  EXPECT_THAT(digests, ElementsAre(Sha256Of(b), Sha256Of(a)));
  EXPECT_THAT(*TokensOf({first, second}, {.enough_tokens = 2}, &digests), ElementsAre(1000, 'b', 2000));
  EXPECT_THAT(digests, ElementsAre(Sha256Of(b), Sha256Of(a)));
}

TEST(TokeniseTest, ReadsNoFurtherThanItMustIfNoDigestsAreWanted) {
  TemporaryFolder folder;
  const auto first = folder.Write("a.jsonl", "{\"text\": \"a\"}\n");
  std::vector<std::string> digests;
  EXPECT_THAT(*TokensOf({first, folder.path() / "absent"}, {.enough_tokens = 2, .digests = false}, &digests),
              ElementsAre(1000, 'a', 2000));
  EXPECT_THAT(digests, IsEmpty());
}

TEST(TokeniseTest, CountsTextsFromTheBeginningOfTheirFile) {
  TemporaryFolder folder;
  const auto first = folder.Write("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"a\"}\n");
  const auto second = folder.Write("b.jsonl", "{\"text\": \"b\"}\n{\"text\": \"bad\"}\n");
  std::vector<std::string> digests;
  const auto tokens = TokensOf({first, second}, {}, &digests);
  EXPECT_THAT(std::string(tokens.status().message()), HasSubstr("b.jsonl: text 2: bad text"));
}

TEST(TokeniseTest, RefusesTextsThatAreAllEmpty) {
  TemporaryFolder folder;
  std::string lines;
  for (int i = 0; i < 3000; ++i) lines += "{\"text\": \"\"}\n";
  const auto empty = folder.Write("empty.jsonl", lines), full = folder.Write("full.jsonl", "{\"text\": \"a\"}\n");
  std::vector<std::string> digests;
  const absl::Status status = TokensOf({empty}, {}, &digests).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("empty.jsonl: all 3000 texts that were read are empty"));
  EXPECT_TRUE(TokensOf({empty, full}, {}, &digests).ok());
  EXPECT_FALSE(TokensOf({empty, full}, {.enough_tokens = 100}, &digests).ok()) << "only end tokens are read";
  const auto answers = folder.Write("answers.jsonl", "{\"prompt\": \"a\", \"completion\": \"\"}\n");
  EXPECT_THAT(std::string(TokensOf({answers}, {.kind = DataKind::kInstructions}, &digests).status().message()),
              HasSubstr("all 1 completions"));
}

TEST(TokenWindowsTest, KnowsTheTextOfEachToken) {
  TemporaryFolder folder;
  const auto path = folder.Write("x.jsonl", "{\"text\": \"ab\"}\n{\"text\": \"c\"}\n{\"text\": \"defghi\"}\n");
  const auto windows = TokenWindows::Build(path, FakeTokenizer(std::nullopt), {.sequence_length = 4});
  ASSERT_TRUE(windows.ok()) << windows.status();
  ASSERT_EQ(windows->windows(), 3);
  EXPECT_THAT(windows->Documents(0), ElementsAre(0, 0, 0, 1));
  EXPECT_THAT(windows->Documents(1), ElementsAre(1, 2, 2, 2));
  EXPECT_THAT(windows->Documents(2), ElementsAre(2, 2, 2, 2));
}

TEST(TokenWindowsTest, AddsNoEndTokenWhereTheTokenizerHasNone) {
  TemporaryFolder folder;
  const auto path = folder.Write("x.jsonl", "{\"text\": \"ab\"}\n{\"text\": \"c\"}\n");
  const auto windows = TokenWindows::Build(path, FakeTokenizer(std::nullopt), {.sequence_length = 5});
  ASSERT_TRUE(windows.ok());
  EXPECT_THAT(windows->Window(0), ElementsAre(1000, 'a', 'b', 1000, 'c'));
}

std::string ManyTexts(int count) {
  std::string lines;
  for (int i = 0; i < count; ++i)
    lines += "{\"text\": \"" + std::string(1 + i % 97, static_cast<char>('a' + i % 26)) + "\"}\n";
  return lines;
}

TEST(TokenWindowsTest, GivesTheSameWindowsOnAnyNumberOfThreads) {
  TemporaryFolder folder;
  const auto path = folder.Write("x.jsonl", ManyTexts(5000));
  const auto one = TokenWindows::Build(path, FakeTokenizer(), {.sequence_length = 64, .threads = 1});
  const auto four = TokenWindows::Build(path, FakeTokenizer(), {.sequence_length = 64, .threads = 4});
  ASSERT_TRUE(one.ok() && four.ok());
  ASSERT_EQ(one->windows(), four->windows());
  for (int64_t i = 0; i < one->windows(); ++i) ASSERT_EQ(one->Window(i), four->Window(i)) << i;
}

TEST(TokenWindowsTest, StopsReadingWhenThereAreEnoughWindows) {
  TemporaryFolder folder;
  const auto path = folder.Write("x.jsonl", ManyTexts(5000) + "this line is broken\n");
  const auto some = TokenWindows::Build(path, FakeTokenizer(), {.sequence_length = 64, .max_windows = 3});
  ASSERT_TRUE(some.ok()) << some.status();
  EXPECT_EQ(some->windows(), 3);
  EXPECT_LT(some->texts(), 5000);
  EXPECT_FALSE(TokenWindows::Build(path, FakeTokenizer(), {.sequence_length = 64}).ok());
}

TEST(TokenWindowsTest, OfAFileOfTokensAreTheSameAsOfTheText) {
  TemporaryFolder folder;
  const auto path = folder.Write("x.jsonl", ManyTexts(500));
  auto writer = TokenStoreWriter::Create(folder.path() / "x.tokens", FakeTokenizer().vocabulary_size(), false);
  ASSERT_TRUE(writer.ok());
  const auto take = [&](const TokenisedText& text) { return writer->Add(text.ids, text.prompt); };
  ASSERT_TRUE(Tokenise({path}, FakeTokenizer(), {}, take).ok());
  ASSERT_TRUE(writer->Finish().ok());
  const TokenWindowsOptions options{.sequence_length = 64, .max_windows = 7};
  const auto of_text = TokenWindows::Build(path, FakeTokenizer(), options);
  const auto of_tokens = TokenWindows::Cut(*TokenStore::Open(folder.path() / "x.tokens"), path, options);
  ASSERT_TRUE(of_text.ok() && of_tokens.ok());
  ASSERT_EQ(of_tokens->windows(), 7);
  for (int64_t i = 0; i < 7; ++i) {
    EXPECT_EQ(of_tokens->Window(i), of_text->Window(i));
    EXPECT_EQ(of_tokens->Documents(i), of_text->Documents(i));
    EXPECT_THAT(of_tokens->AnswerPlaces(i), IsEmpty());
  }
}

/// Returns an instruction whose prompt is made of `a` and whose answer is made of `b`, with begin and end tokens.
std::string Instruction(size_t prompt, size_t answer) {
  return "{\"prompt\": \"" + std::string(prompt, 'a') + "\", \"completion\": \"" + std::string(answer, 'b') + "\"}\n";
}

TEST(InstructionWindowsTest, HoldWholeInstructionsAndZerosBehindThem) {
  TemporaryFolder folder;
  // The texts have 5, 4 and 8 tokens.
  const auto path = folder.Write("x.jsonl", Instruction(2, 1) + Instruction(1, 1) + Instruction(1, 5));
  const auto windows =
      TokenWindows::Build(path, FakeTokenizer(), {.sequence_length = 10, .kind = DataKind::kInstructions});
  ASSERT_TRUE(windows.ok()) << windows.status();
  ASSERT_EQ(windows->windows(), 2);
  EXPECT_THAT(windows->Window(0), ElementsAre(1000, 'a', 'a', 'b', 2000, 1000, 'a', 'b', 2000, 0));
  EXPECT_THAT(windows->Documents(0), ElementsAre(0, 0, 0, 0, 0, 1, 1, 1, 1, 3));
  // The token before the answer predicts its first token; the last token of the answer predicts the end.
  EXPECT_THAT(windows->AnswerPlaces(0), ElementsAre(2, 3, 6, 7));
  EXPECT_THAT(windows->Window(1), ElementsAre(1000, 'a', 'b', 'b', 'b', 'b', 'b', 2000, 0, 0));
  EXPECT_THAT(windows->AnswerPlaces(1), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(InstructionWindowsTest, LeaveOutTheEndOfAnInstructionThatIsTooLong) {
  TemporaryFolder folder;
  const auto path = folder.Write("x.jsonl", Instruction(2, 9) + Instruction(1, 1));
  const auto windows =
      TokenWindows::Build(path, FakeTokenizer(), {.sequence_length = 5, .kind = DataKind::kInstructions});
  ASSERT_TRUE(windows.ok()) << windows.status();
  ASSERT_EQ(windows->windows(), 2);
  EXPECT_THAT(windows->Window(0), ElementsAre(1000, 'a', 'a', 'b', 'b'));
  EXPECT_THAT(windows->AnswerPlaces(0), ElementsAre(2, 3));
  EXPECT_THAT(windows->Window(1), ElementsAre(1000, 'a', 'b', 2000, 0));
}

TEST(InstructionWindowsTest, AreAsManyAsAskedFor) {
  TemporaryFolder folder;
  const auto path = folder.Write("x.jsonl", Instruction(1, 1) + Instruction(1, 1) + Instruction(1, 1));
  const auto windows = TokenWindows::Build(path, FakeTokenizer(),
                                           {.sequence_length = 5, .max_windows = 2, .kind = DataKind::kInstructions});
  ASSERT_TRUE(windows.ok()) << windows.status();
  EXPECT_EQ(windows->windows(), 2);
  EXPECT_THAT(windows->Documents(1), ElementsAre(1, 1, 1, 1, 3));
}

TEST(InstructionWindowsTest, SayWhereNoAnswerFits) {
  TemporaryFolder folder;
  const auto path = folder.Write("x.jsonl", Instruction(20, 1));
  const auto windows =
      TokenWindows::Build(path, FakeTokenizer(), {.sequence_length = 8, .kind = DataKind::kInstructions});
  EXPECT_EQ(windows.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(windows.status().message()), HasSubstr("no answer within a sequence of 8 tokens"));
}

TEST(TokenWindowsTest, ReportsProgressUpToTheWholeFile) {
  TemporaryFolder folder;
  const auto path = folder.Write("x.jsonl", ManyTexts(5000));
  std::vector<TokeniseProgress> seen;
  TokenWindowsOptions options{.sequence_length = 64};
  options.progress = [&seen](const TokeniseProgress& progress) { seen.push_back(progress); };
  ASSERT_TRUE(TokenWindows::Build(path, FakeTokenizer(), options).ok());
  ASSERT_GT(seen.size(), 1u);
  EXPECT_EQ(seen.back().texts, 5000);
  EXPECT_EQ(seen.back().bytes_read, seen.back().file_bytes);
}

TEST(TokenWindowsTest, SaysThatTheTextIsTooShort) {
  TemporaryFolder folder;
  const auto path = folder.Write("x.jsonl", "{\"text\": \"ab\"}\n");
  const auto windows = TokenWindows::Build(path, FakeTokenizer(), {.sequence_length = 5});
  EXPECT_EQ(windows.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(windows.status().message()), HasSubstr("4 tokens, fewer than one sequence of 5"));
}

TEST(TokenWindowsTest, PassesOnTheErrorsOfTheTokenizerAndRefusesImpossibleLengths) {
  TemporaryFolder folder;
  const auto path = folder.Write("x.jsonl", "{\"text\": \"bad\"}\n");
  EXPECT_THAT(std::string(TokenWindows::Build(path, FakeTokenizer(), {.sequence_length = 4}).status().message()),
              HasSubstr("bad text"));
  EXPECT_FALSE(TokenWindows::Build(path, FakeTokenizer(), {.sequence_length = 1}).ok());
  EXPECT_FALSE(TokenWindows::Build(path, FakeTokenizer(), {.sequence_length = 4, .max_windows = -1}).ok());
}

/// Returns a WAV file of silence with 16-bit samples.
std::string Silence(uint32_t samples) {
  const auto number = [](uint32_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
    return text;
  };
  const std::string chunks = "WAVEfmt " + number(16, 4) + number(1, 2) + number(1, 2) + number(16000, 4) +
                             number(32000, 4) + number(2, 2) + number(16, 2) + "data" + number(2 * samples, 4) +
                             std::string(2 * samples, '\0');
  return "RIFF" + number(static_cast<uint32_t>(chunks.size()), 4) + chunks;
}

TokenWindowsOptions TranscriptOptions(int64_t tokens) {
  const SpectrogramShape spectrogram{.mel_bins = 2, .frames = 3};
  return {.sequence_length = spectrogram.Values() + tokens,
          .kind = DataKind::kTranscripts,
          .transcript = {.spectrogram = spectrogram, .tokens = tokens, .start_token = 1000}};
}

TEST(TranscriptTest, IsAWindowWithItsAudio) {
  TemporaryFolder folder;
  folder.Write("a.wav", Silence(480));
  const auto path = folder.Write("x.jsonl", "{\"audio\": \"a.wav\", \"text\": \"ab\"}\n{\"audio\": \"" +
                                                (folder.path() / "a.wav").string() + "\", \"text\": \"abcdef\"}\n");
  const auto windows = TokenWindows::Build(path, FakeTokenizer(), TranscriptOptions(4));
  ASSERT_TRUE(windows.ok()) << windows.status();
  ASSERT_EQ(windows->windows(), 2);
  // The logarithm of the least power is -10; (-10 + 4) / 4 as a float32.
  const int32_t silent = std::bit_cast<int32_t>(-1.5F);
  EXPECT_THAT(windows->Window(0), ElementsAre(silent, silent, silent, silent, silent, silent, 'a', 'b', 2000, -1));
  EXPECT_THAT(windows->Window(1), ElementsAre(silent, silent, silent, silent, silent, silent, 'a', 'b', 'c', 'd'));
  EXPECT_THAT(windows->AnswerPlaces(0), ElementsAre(0, 1, 2));
  EXPECT_EQ(windows->places(), 4);
}

TEST(TranscriptTest, NamesTheAudioFileThatCannotBeRead) {
  TemporaryFolder folder;
  folder.Write("long.wav", Silence(481));
  const auto refusal = [&](const std::string& line) {
    const auto path = folder.Write("x.jsonl", line + "\n");
    return std::string(TokenWindows::Build(path, FakeTokenizer(), TranscriptOptions(4)).status().message());
  };
  EXPECT_THAT(refusal("{\"audio\": \"long.wav\", \"text\": \"a\"}"), HasSubstr("long.wav: lasts 0.03 s"));
  EXPECT_THAT(refusal("{\"audio\": \"none.wav\", \"text\": \"a\"}"), HasSubstr("none.wav"));
  EXPECT_THAT(refusal("{\"text\": \"a\"}"), HasSubstr("x.jsonl:1: the field \"audio\" is missing"));
  EXPECT_THAT(refusal("{\"audio\": 5, \"text\": \"a\"}"), HasSubstr("audio"));
}

TEST(TranscriptTest, MayNotNameAudioOutsideOfTheDataRoots) {
  TemporaryFolder folder, outside;
  const auto secret = outside.Write("a.wav", Silence(480));
  std::filesystem::create_symlink(secret, folder.path() / "link.wav");
  SetInputRules({.roots = {{folder.path()}}});
  const std::filesystem::path relative = std::filesystem::path("..") / outside.path().filename() / "a.wav";
  for (const std::string& audio : {secret.string(), relative.string(), std::string("link.wav")}) {
    const auto path = folder.Write("x.jsonl", "{\"audio\": \"" + audio + "\", \"text\": \"a\"}\n");
    const absl::Status refused = TokenWindows::Build(path, FakeTokenizer(), TranscriptOptions(4)).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kPermissionDenied) << audio << ": " << refused;
  }
  SetInputRules({});
}

TEST(TranscriptTest, MustHaveATokenThatTheModelPredicts) {
  TemporaryFolder folder;
  folder.Write("a.wav", Silence(480));
  const auto path =
      folder.Write("x.jsonl", "{\"audio\": \"a.wav\", \"text\": \"a\"}\n{\"audio\": \"a.wav\", \"text\": \"\"}\n");
  const auto windows = TokenWindows::Build(path, FakeTokenizer(std::nullopt), TranscriptOptions(4));
  EXPECT_THAT(std::string(windows.status().message()), HasSubstr("x.jsonl: text 2: the transcript has no tokens"));
}

}  // namespace
}  // namespace regroup
