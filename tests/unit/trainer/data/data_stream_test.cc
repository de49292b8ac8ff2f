#include "trainer/data/data_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include "services/common/base/sha256.h"
#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "trainer/data/shuffled_order.h"
#include "trainer/data/text_reader.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

std::string Gzip(const std::string& content) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string compressed(deflateBound(&stream, content.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(compressed.data());
  stream.avail_out = static_cast<uInt>(compressed.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  compressed.resize(stream.total_out);
  deflateEnd(&stream);
  return compressed;
}

std::string Zstd(const std::string& content) {
  std::string compressed(ZSTD_compressBound(content.size()), '\0');
  compressed.resize(ZSTD_compress(compressed.data(), compressed.size(), content.data(), content.size(), 3));
  return compressed;
}

/// Returns lines that compress little, so that the compressed file has several pieces.
std::string ManyLines() {
  SplitMix64 random(1);
  std::string lines;
  for (int line = 0; line < 3000; ++line) {
    lines += "{\"text\": \"";
    for (int word = 0; word < 20; ++word) lines += std::to_string(random.Next());
    lines += "\"}\n";
  }
  return lines;
}

absl::StatusOr<std::string> ReadAll(const std::filesystem::path& path, size_t piece = 1000) {
  auto stream = DataStream::Open(path);
  if (!stream.ok()) return stream.status();
  std::string content;
  std::vector<char> buffer(piece);
  while (true) {
    const auto got = stream->Read(buffer.data(), buffer.size());
    if (!got.ok()) return got.status();
    if (*got == 0) return content;
    content.append(buffer.data(), *got);
  }
}

class DataStreamTest : public ::testing::Test {
 protected:
  void ExpectContent(const std::string& stored, const std::string& content) {
    const auto read = ReadAll(folder_.Write("x", stored));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_TRUE(*read == content) << read->size() << " and " << content.size() << " bytes";
  }
  void ExpectDataLoss(const std::string& stored, const char* why) {
    const auto read = ReadAll(folder_.Write("x.bin", stored));
    EXPECT_EQ(read.status().code(), absl::StatusCode::kDataLoss) << read.status();
    EXPECT_THAT(std::string(read.status().message()), HasSubstr("x.bin"));
    EXPECT_THAT(std::string(read.status().message()), HasSubstr(why));
  }

  TemporaryFolder folder_;
};

TEST_F(DataStreamTest, ReadsPlainAndCompressedContentWhateverTheName) {
  const std::string content = ManyLines();
  ASSERT_GT(Gzip(content).size(), size_t{1} << 19);
  ExpectContent(content, content);
  ExpectContent(Gzip(content), content);
  ExpectContent(Zstd(content), content);
}

TEST_F(DataStreamTest, ReadsEmptyContent) {
  ExpectContent("", "");
  ExpectContent(Gzip(""), "");
  ExpectContent(Zstd(""), "");
}

TEST_F(DataStreamTest, ReadsContentOfExactlyTheBuffersSize) {
  for (const size_t size : {size_t{999}, size_t{1000}, size_t{2000}, size_t{1 << 18}}) {
    const std::string content(size, 'x');
    ExpectContent(Gzip(content), content);
    ExpectContent(Zstd(content), content);
  }
}

TEST_F(DataStreamTest, ReadsFilesThatWereJoined) {
  ExpectContent(Gzip("a\n") + Gzip("") + Gzip("b\n") + std::string(600, '\0'), "a\nb\n");
  const std::string skipped = std::string("\x5e\x2a\x4d\x18\x03\0\0\0abc", 11);
  ExpectContent(skipped + Zstd("a\n") + skipped + Zstd("b\n"), "a\nb\n");
}

TEST_F(DataStreamTest, SaysThatAFileIsTruncated) {
  const std::string gzip = Gzip(ManyLines()), zstd = Zstd(ManyLines());
  for (const size_t kept : {size_t{5}, gzip.size() / 2, gzip.size() - 1}) {
    ExpectDataLoss(gzip.substr(0, kept), "gzip data does: the file is truncated");
  }
  for (const size_t kept : {size_t{5}, zstd.size() / 2, zstd.size() - 1}) {
    ExpectDataLoss(zstd.substr(0, kept), "Zstandard data does: the file is truncated");
  }
}

TEST_F(DataStreamTest, SaysThatAFileIsDamaged) {
  std::string gzip = Gzip(ManyLines()), zstd = Zstd(ManyLines());
  ExpectDataLoss(gzip + "xxxx", "gzip data is damaged");
  ExpectDataLoss(zstd + "xxxx", "Zstandard data is damaged");
  gzip[gzip.size() / 2] ^= 1;
  zstd[8] ^= 0x7f;
  ExpectDataLoss(gzip, "gzip data is damaged");
  ExpectDataLoss(zstd, "Zstandard data is damaged");
  std::string sum = Gzip("{}\n");
  sum[sum.size() - 8] ^= 1;
  ExpectDataLoss(sum, "gzip data is damaged");
}

TEST_F(DataStreamTest, RefusesAWindowThatNeedsTooMuchMemory) {
  ZSTD_CCtx* const context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, 28);
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  const std::string content = "x";
  std::string compressed(ZSTD_compressBound(1 << 10), '\0');
  ZSTD_outBuffer output{compressed.data(), compressed.size(), 0};
  ZSTD_inBuffer input{content.data(), content.size(), 0};
  ZSTD_compressStream2(context, &output, &input, ZSTD_e_flush);
  ZSTD_compressStream2(context, &output, &input, ZSTD_e_end);
  ZSTD_freeCCtx(context);
  ExpectDataLoss(compressed.substr(0, output.pos), "too much memory");
}

TEST_F(DataStreamTest, DigestsTheStoredBytesAlsoIfReadingStopsEarly) {
  for (const std::string& stored : {Gzip(ManyLines()), Zstd(ManyLines()), ManyLines(), std::string()}) {
    auto stream = DataStream::Open(folder_.Write("x", stored));
    ASSERT_TRUE(stream.ok());
    char byte = 0;
    ASSERT_TRUE(stream->Read(&byte, 1).ok());
    EXPECT_EQ(*stream->Digest(), Sha256Of(stored));
    EXPECT_EQ(stream->bytes_read(), stored.size());
    EXPECT_EQ(stream->file_bytes(), stored.size());
  }
}

TEST_F(DataStreamTest, GivesTheSameTextsAsThePlainFile) {
  for (const std::string& stored : {ManyLines(), Gzip(ManyLines()), Zstd(ManyLines())}) {
    auto reader = TextReader::Open(folder_.Write("x.jsonl", stored));
    ASSERT_TRUE(reader.ok());
    int64_t texts = 0;
    for (auto text = reader->Next(); text.ok() && text->has_value(); text = reader->Next()) ++texts;
    EXPECT_EQ(texts, 3000);
  }
}

}  // namespace
}  // namespace regroup
