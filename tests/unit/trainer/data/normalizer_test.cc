#include "trainer/data/tokenizer/normalizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "trainer/data/tokenizer/precompiled_charsmap.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

/// Returns the normalised text, after a "|" if it no longer begins with the text's first byte.
std::string Normalized(const Json& json, const std::string& text) {
  const auto normalizer = ParseNormalizer(json);
  EXPECT_TRUE(normalizer.ok()) << normalizer.status();
  const auto piece = (*normalizer)->Normalize({text, true});
  EXPECT_TRUE(piece.ok()) << piece.status();
  return (piece->starts_text ? "" : "|") + piece->text;
}

/// Returns a map of "a" to "xy" and of the control character 7 to nothing.
std::string SmallCharsmap() {
  // The root's children are around 0x100; each child's leaf is beside it.
  std::vector<uint32_t> trie(0x168);
  trie[0] = 0x100 << 10;
  const auto add = [&trie](uint32_t byte, uint32_t value) {
    trie[0x100 ^ byte] = byte | 1 << 8 | 2 << 10;
    trie[0x100 ^ byte ^ 2] = value | 1U << 31;
  };
  add('a', 0);
  add(7, 2);
  const auto size = static_cast<uint32_t>(trie.size() * sizeof(uint32_t));
  std::string bytes(sizeof size + size, '\0');
  std::memcpy(bytes.data(), &size, sizeof size);
  std::memcpy(bytes.data() + sizeof size, trie.data(), size);
  return bytes + std::string("xy\0", 3);
}

Json Precompiled(const std::string& charsmap) {
  return {{"type", "Precompiled"}, {"precompiled_charsmap", absl::Base64Escape(charsmap)}};
}

std::string NormalizerError(const Json& json) { return std::string(ParseNormalizer(json).status().message()); }

TEST(NormalizerTest, SaysWhereTheBeginningOfTheTextIsRemoved) {
  const Json strip = {{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}};
  EXPECT_EQ(Normalized(strip, "a "), "a");
  EXPECT_EQ(Normalized(strip, " a "), "|a");
  EXPECT_EQ(Normalized({{"type", "Nmt"}},
                       "\x07"
                       "a\tb\x07"),
            "|a b");
  EXPECT_EQ(Normalized({{"type", "Replace"}, {"pattern", {{"String", "-"}}}, {"content", ""}}, "-a-"), "|a");
  EXPECT_EQ(Normalized({{"type", "Replace"}, {"pattern", {{"String", "-"}}}, {"content", "+"}}, "-a-"), "+a+");
  EXPECT_EQ(Normalized({{"type", "Replace"}, {"pattern", {{"String", "--"}}}, {"content", "+"}}, "--a"), "|+a");
  EXPECT_EQ(Normalized({{"type", "Sequence"}, {"normalizers", {strip, {{"type", "Prepend"}, {"prepend", "_"}}}}}, " a"),
            "|_a");
}

TEST(NormalizerTest, ChangesCharactersOneByOne) {
  EXPECT_EQ(Normalized({{"type", "Lowercase"}}, "ÀBΣ"), "àbσ");
  EXPECT_EQ(Normalized({{"type", "StripAccents"}}, "e\u0301a"), "ea");
  EXPECT_EQ(Normalized({{"type", "ByteLevel"}}, "a é"), "aĠÃ©");
}

TEST(NormalizerTest, ReplacesTextsOfACharacterMap) {
  EXPECT_EQ(Normalized(Precompiled(SmallCharsmap()), "bab"), "bxyb");
  EXPECT_EQ(Normalized(Precompiled(SmallCharsmap()), "b\x07"), "b");
  // The map has the beginning of this cluster, and no more of it is looked at.
  EXPECT_EQ(Normalized(Precompiled(SmallCharsmap()), "a\u0301"), "xy");
  // This cluster is too long to be replaced as a whole.
  EXPECT_EQ(Normalized(Precompiled(SmallCharsmap()), "a\u0301\u0301\u0301"), "xy\u0301\u0301\u0301");
}

TEST(NormalizerTest, RefusesADamagedCharacterMap) {
  EXPECT_THAT(NormalizerError(Precompiled("")), HasSubstr("truncated"));
  EXPECT_THAT(NormalizerError(Precompiled(SmallCharsmap().substr(0, 1000))), HasSubstr("truncated"));
  EXPECT_THAT(NormalizerError(Precompiled(SmallCharsmap() + "\xff")), HasSubstr("UTF-8"));
  EXPECT_THAT(NormalizerError({{"type", "Precompiled"}, {"precompiled_charsmap", "?"}}), HasSubstr("base64"));
}

TEST(PrecompiledCharsmapTest, FindsNothingWhereAPlaceIsOutsideTheMap) {
  std::string bytes = SmallCharsmap();
  const auto map = PrecompiledCharsmap::Parse(bytes);
  ASSERT_TRUE(map.ok());
  EXPECT_EQ(map->Find("\xff"), std::nullopt);
  EXPECT_EQ(map->Find(std::string_view("\0", 1)), std::nullopt);
  // Only the replacements are gone.
  bytes.resize(bytes.size() - 3);
  EXPECT_EQ(PrecompiledCharsmap::Parse(bytes)->Find("a"), std::nullopt);
}

}  // namespace
}  // namespace regroup
