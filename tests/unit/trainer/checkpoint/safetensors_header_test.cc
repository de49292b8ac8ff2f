#include "trainer/checkpoint/safetensors_header.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

using ::testing::HasSubstr;

std::string WithSize(const std::string& json) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(json.size() >> (8 * i));
  return bytes + json;
}

absl::StatusOr<SafetensorsHeader> Parse(const std::string& json, uint64_t data_bytes) {
  const std::string content = WithSize(json);
  return ParseSafetensorsHeader(content, content.size() + data_bytes, "f.safetensors");
}

std::string ErrorOf(const std::string& json, uint64_t data_bytes) {
  const auto header = Parse(json, data_bytes);
  EXPECT_EQ(header.status().code(), absl::StatusCode::kDataLoss) << json;
  EXPECT_THAT(std::string(header.status().message()), HasSubstr("f.safetensors")) << json;
  return std::string(header.status().message());
}

std::string Entry(const std::string& name, const std::string& dtype, const std::string& shape, const std::string& at) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{}]}})", name, dtype, shape, at);
}

std::string Object(const std::string& entries) { return "{" + entries + "}"; }

TEST(SafetensorsHeaderTest, GivesTensorsInTheOrderOfTheirBytes) {
  const auto header = Parse(Object(Entry("b", "F32", "2,3", "4,28") + "," + Entry("a", "F16", "2", "0,4")), 28);
  ASSERT_TRUE(header.ok()) << header.status();
  ASSERT_EQ(header->entries.size(), 2u);
  EXPECT_EQ(header->entries[0].name, "a");
  EXPECT_EQ(header->entries[1].name, "b");
  EXPECT_EQ(header->entries[1].dtype, SafetensorsDtype::kF32);
  EXPECT_EQ(header->entries[1].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(header->entries[1].begin, 4u);
  EXPECT_EQ(header->entries[1].end, 28u);
}

TEST(SafetensorsHeaderTest, ReadsMetadataScalarsAndEmptyTensors) {
  const auto header = Parse(Object(R"("__metadata__":{"format":"pt"},)" + Entry("s", "I64", "", "0,8") + "," +
                                   Entry("e", "F32", "3,0", "8,8")),
                            8);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->metadata.at("format"), "pt");
  EXPECT_TRUE(header->entries[0].shape.empty());
}

TEST(SafetensorsHeaderTest, RefusesAFileThatIsTooShortOrCut) {
  EXPECT_FALSE(ParseSafetensorsHeader("1234567", 7, "f").ok());
  const std::string content = WithSize("{}");
  EXPECT_TRUE(ParseSafetensorsHeader(content, content.size(), "f").ok());
  EXPECT_FALSE(ParseSafetensorsHeader(content.substr(0, 9), 9, "f").ok());
  EXPECT_FALSE(ParseSafetensorsHeader(std::string(8, '\xff') + "{}", 10, "f").ok());
}

TEST(SafetensorsHeaderTest, RefusesAHoleAnOverlapAndUncoveredBytesAndNamesTheTensor) {
  EXPECT_THAT(ErrorOf(Object(Entry("a", "U8", "4", "0,4") + "," + Entry("b", "U8", "4", "5,9")), 9),
              HasSubstr("\"b\""));
  EXPECT_THAT(ErrorOf(Object(Entry("a", "U8", "4", "0,4") + "," + Entry("b", "U8", "4", "3,7")), 7),
              HasSubstr("\"b\""));
  EXPECT_THAT(ErrorOf(Object(Entry("a", "U8", "4", "0,4")), 5), HasSubstr("4 bytes of tensors but the file has 5"));
  EXPECT_THAT(ErrorOf(Object(Entry("a", "U8", "4", "0,4")), 3), HasSubstr("truncated"));
}

TEST(SafetensorsHeaderTest, RefusesAShapeThatDoesNotFitItsBytes) {
  EXPECT_THAT(ErrorOf(Object(Entry("a", "F32", "2", "0,4")), 4), HasSubstr("need 8 bytes but its data_offsets give 4"));
}

TEST(SafetensorsHeaderTest, RefusesShapesThatOverflowEvenWhereADimensionIsZero) {
  EXPECT_THAT(ErrorOf(Object(Entry("a", "F32", "4611686018427387904,4", "0,0")), 0), HasSubstr("overflows"));
  EXPECT_THAT(ErrorOf(Object(Entry("a", "F32", "0,4611686018427387904,4", "0,0")), 0), HasSubstr("overflows"));
  EXPECT_THAT(ErrorOf(Object(Entry("a", "F32", "9223372036854775808", "0,4")), 4), HasSubstr("overflows"));
  EXPECT_THAT(ErrorOf(Object(Entry("a", "U8", "18446744073709551616", "0,4")), 4), HasSubstr("shape"));
}

TEST(SafetensorsHeaderTest, RefusesRepeatedNamesAndProperties) {
  const std::string entry = Entry("a", "U8", "0", "0,0");
  EXPECT_THAT(ErrorOf(Object(entry + "," + entry), 0), HasSubstr("listed twice"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0),
              HasSubstr("\"dtype\" is given twice"));
  EXPECT_THAT(ErrorOf(R"({"__metadata__":{"x":"1","x":"2"}})", 0), HasSubstr("\"x\" is given twice"));
}

TEST(SafetensorsHeaderTest, RefusesUnknownDtypesMissingPropertiesAndWrongTypes) {
  EXPECT_THAT(ErrorOf(Object(Entry("a", "F4", "1", "0,1")), 1), HasSubstr("F4"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"U8","shape":[1]}})", 1), HasSubstr("data_offsets"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1), HasSubstr("integers"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1), HasSubstr("shape"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1), HasSubstr("data_offsets"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", 1), HasSubstr("data_offsets"));
  EXPECT_THAT(ErrorOf(R"({"a":[]})", 0), HasSubstr("must be an object"));
  EXPECT_THAT(ErrorOf(R"({"__metadata__":{"a":1}})", 0), HasSubstr("__metadata__"));
  EXPECT_THAT(ErrorOf("[]", 0), HasSubstr("not a JSON object"));
  EXPECT_THAT(ErrorOf("{\"a\":", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf(std::string("{}\0", 3), 0), HasSubstr("not valid JSON at byte 2"));
  EXPECT_THAT(ErrorOf(std::string("{}\0 x", 5), 0), HasSubstr("not valid JSON at byte 2"));
}

TEST(SafetensorsHeaderTest, DoesNotRecurseIntoDeepNesting) {
  EXPECT_THAT(ErrorOf("{\"a\":" + std::string(1'000'000, '[') + "}", 0), HasSubstr("must be an object"));
}

TEST(SafetensorsHeaderTest, FormatsAHeaderThatParsesBackAndIsAligned) {
  SafetensorsHeader header;
  header.metadata["format"] = "pt";
  header.entries = {{"x \"quoted\" ü", SafetensorsDtype::kBF16, {2, 2}, 0, 8},
                    {"y", SafetensorsDtype::kBool, {}, 8, 9}};
  const std::string text = FormatSafetensorsHeader(header);
  EXPECT_EQ(text.size() % 8, 0u);
  const auto parsed = ParseSafetensorsHeader(text, text.size() + 9, "f");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->metadata, header.metadata);
  EXPECT_EQ(parsed->entries[0].name, header.entries[0].name);
  EXPECT_EQ(parsed->entries[0].dtype, SafetensorsDtype::kBF16);
  EXPECT_EQ(parsed->entries[1].end, 9u);
}

}  // namespace
}  // namespace regroup
