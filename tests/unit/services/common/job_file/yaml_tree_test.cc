#include "services/common/job_file/yaml_tree.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace regroup {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string ErrorOf(std::string_view text) {
  const auto tree = ParseYamlTree(text, "job.yaml");
  EXPECT_FALSE(tree.ok()) << text;
  EXPECT_EQ(tree.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(tree.status().message());
}

TEST(YamlTree, KeepsKeysTextsAndPlaces) {
  const auto tree = ParseYamlTree("a: 1\nb:\n  - x\n  - \"2\"\n", "job.yaml");
  ASSERT_TRUE(tree.ok()) << tree.status();
  ASSERT_EQ(tree->entries.size(), 2U);
  EXPECT_EQ(tree->entries[0].key, "a");
  EXPECT_EQ(tree->entries[0].value.text, "1");
  const YamlNode& list = tree->entries[1].value;
  ASSERT_EQ(list.items.size(), 2U);
  EXPECT_FALSE(list.items[0].quoted);
  EXPECT_TRUE(list.items[1].quoted);
  EXPECT_EQ(list.items[1].position, (Position{4, 5}));
}

TEST(YamlTree, TakesAnEmptyDocumentForAnEmptyMapping) {
  const auto tree = ParseYamlTree("# nothing yet\n", "job.yaml");
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_EQ(tree->kind, YamlNode::Kind::kMapping);
}

TEST(YamlTree, RefusesADuplicateKeyAtItsSecondPlace) {
  EXPECT_EQ(ErrorOf("a: 1\nb: 2\na: 3\n"), "job.yaml:3:1: duplicate key 'a'; it is already given at line 1");
}

TEST(YamlTree, RefusesAnchors) { EXPECT_THAT(ErrorOf("a: &x 1\n"), StartsWith("job.yaml:1:4: anchors")); }

TEST(YamlTree, RefusesAnchorsOnMappingsAndKeys) {
  EXPECT_THAT(ErrorOf("a: &x {b: 1}\n"), HasSubstr("anchors"));
  EXPECT_THAT(ErrorOf("&x a: 1\n"), HasSubstr("anchors"));
}

TEST(YamlTree, RefusesAliases) { EXPECT_THAT(ErrorOf("a: &x 1\nb: *x\n"), HasSubstr("anchors")); }

TEST(YamlTree, RefusesTags) {
  EXPECT_THAT(ErrorOf("a: !!str 1\n"), HasSubstr("tags are not allowed"));
  EXPECT_THAT(ErrorOf("a: !thing {b: 1}\n"), HasSubstr("tags are not allowed"));
  EXPECT_THAT(ErrorOf("a: !!seq [1]\n"), HasSubstr("tags are not allowed"));
}

TEST(YamlTree, RefusesASecondDocument) { EXPECT_THAT(ErrorOf("a: 1\n---\nb: 2\n"), HasSubstr("one document")); }

TEST(YamlTree, RefusesAListOrATextAsTheWholeFile) {
  EXPECT_THAT(ErrorOf("- a\n"), HasSubstr("must be a mapping"));
  EXPECT_THAT(ErrorOf("hello\n"), HasSubstr("must be a mapping"));
}

TEST(YamlTree, RefusesKeysThatAreNotText) {
  EXPECT_THAT(ErrorOf("? [1, 2]\n: 3\n"), HasSubstr("a key must be plain text"));
  EXPECT_THAT(ErrorOf("? {a: 1}\n: 3\n"), HasSubstr("a key must be plain text"));
}

TEST(YamlTree, RefusesBrokenSyntaxWithItsPlace) {
  EXPECT_THAT(ErrorOf("a: [1, 2\nb: 3\n"), StartsWith("job.yaml:"));
  EXPECT_THAT(ErrorOf("a: [1, 2\nb: 3\n"), HasSubstr("not valid YAML"));
}

TEST(YamlTree, RefusesDeepNestingWithoutRunningOutOfStack) {
  EXPECT_THAT(ErrorOf("a: " + std::string(200, '[') + std::string(200, ']')), HasSubstr("levels of nesting"));
  EXPECT_FALSE(ParseYamlTree("a: " + std::string(100'000, '['), "job.yaml").ok());
}

TEST(YamlTree, RefusesAnOversizedFile) {
  EXPECT_THAT(ErrorOf("a: " + std::string(kMaximumBytes, 'x')), HasSubstr("are allowed"));
}

TEST(YamlTree, FindsADuplicateAmongVeryManyKeys) {
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += fmt::format("k{}: x\n", i);
  const auto tree = ParseYamlTree(text, "job.yaml");
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_EQ(tree->entries.size(), 20'000U);
  EXPECT_THAT(ErrorOf(text + "k7: y\n"), HasSubstr("duplicate key 'k7'; it is already given at line 8"));
}

TEST(YamlTree, RefusesControlCharactersWithTheirPlace) {
  EXPECT_THAT(ErrorOf(std::string_view("a: 1\nb: \0x", 10)), StartsWith("job.yaml:2:4: control character 0x00"));
}

}  // namespace
}  // namespace regroup
