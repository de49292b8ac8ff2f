#include "trainer/data/chat_template/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

constexpr size_t kMost = 1000;

absl::StatusOr<std::string> Render(const std::string& source, size_t most = kMost) {
  const auto parsed = ChatTemplate::Parse(source, "t.jinja");
  if (!parsed.ok()) return parsed.status();
  return parsed->Render({.messages = {{{"role", "user"}, {"content", "ü b"}}}}, most);
}

std::string ErrorOf(const std::string& source) {
  const auto text = Render(source);
  EXPECT_FALSE(text.ok()) << source << " gives " << *text;
  return std::string(text.status().message());
}

TEST(ChatTemplateTest, RemovesTheLineBreakBehindATagAndTheBlanksBeforeIt) {
  EXPECT_EQ(*Render("a\n  {% if true %}\n  b\n  {% endif %}\nc"), "a\n  b\nc");
  EXPECT_EQ(*Render("a {% if true %} b{% endif %}\n\nc"), "a  b\nc");
  EXPECT_EQ(*Render("a\n  {{ 'b' }}\n c"), "a\n  b\n c");
  EXPECT_EQ(*Render("a\n  {# note #}\nb"), "a\nb");
}

TEST(ChatTemplateTest, FollowsTheSignsOfATag) {
  EXPECT_EQ(*Render("a \n\n{%- if true -%} \n b {{- 'c' -}}  \nd{% endif %}"), "abcd");
  EXPECT_EQ(*Render("a\n  {%+ if true +%}\nb{% endif %}"), "a\n  \nb");
  EXPECT_EQ(*Render("a\xc2\xa0{{- 'b' }}"), "ab");
}

TEST(ChatTemplateTest, EndsLinesAsJinjaDoes) {
  EXPECT_EQ(*Render("a\r\nb\rc\n"), "a\nb\nc");
  EXPECT_EQ(*Render("a\n\n"), "a\n");
}

TEST(ChatTemplateTest, KeepsRawText) {
  EXPECT_EQ(*Render("{% raw %} {{ x }} {%- y %}{% endraw %}\nz"), " {{ x }} {%- y %}z");
  EXPECT_EQ(*Render("{%- raw -%}  a {% b {%- endraw -%} c"), "a {% bc");
}

TEST(ChatTemplateTest, StartsAScopeWithoutTheNamesThatItAssigns) {
  EXPECT_EQ(*Render("{% for i in range(2) %}{{ x }}{% set x = i %}{{ x }},{% endfor %}{{ x }}"), "0,1,");
  EXPECT_EQ(*Render("{% set x = 1 %}{% for i in range(2) %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}"), "221");
  EXPECT_EQ(*Render("{% macro f() %}{{ messages }}{% endmacro %}{{ f() }}{% set messages = 1 %}{{ f() }}"), "1");
}

TEST(ChatTemplateTest, NamesFileAndLineOfWhatItDoesNotSupport) {
  for (const auto& [source, fragment] : std::initializer_list<std::pair<const char*, const char*>>{
           {"\n{% include 'x' %}",
            "t.jinja:2: the chat template uses what Regroup does not support: the tag 'include'"},
           {"{{ messages|groupby('role') }}", "the filter 'groupby'"},
           {"{{ 1 is sameas 1 }}", "the test 'sameas'"},
           {"{{ ''.__class__ }}", "the attribute '__class__'"},
           {"{{ messages[0].items }}", "printing a value of the kind method"},
           {"{{ messages.append(1) }}", "the attribute 'append' of list"},
           {"{{ '%d' % 1 }}", "'%' behind a text"},
           {"{{ 9223372036854775807 + 1 }}", "more than 64 bits"},
           {"{{ strftime_now('%Y') }}", "depend on the day"},
           {"{% for m in messages recursive %}{% endfor %}", "a recursive loop"},
           {"{% set x = messages|map('trim') %}{{ x|list }}{{ x|list }}", "add the filter list"},
           {"{% set ns = namespace() %}{% set ns.x = ns %}", "a namespace within another value"}}) {
    EXPECT_THAT(ErrorOf(source), HasSubstr(fragment));
    EXPECT_EQ(Render(source).status().code(), absl::StatusCode::kUnimplemented) << source;
  }
}

TEST(ChatTemplateTest, NamesFileAndLineOfWhatIsMalformed) {
  for (const char* source :
       {"{% if x %}", "{{ 1 +", "{{ 'a }}", "{# a", "{% raw %}", "{{ (1] }}", "{% endif %}", "{{ 1 2 }}"}) {
    EXPECT_THAT(ErrorOf(source), HasSubstr("t.jinja:1: ")) << source;
  }
}

TEST(ChatTemplateTest, EndsTemplatesThatNeverWould) {
  const std::string loop = "{% for i in range(99999) %}";
  EXPECT_THAT(ErrorOf(loop + loop + "{{ i if false }}{% endfor %}{% endfor %}"), HasSubstr("more steps"));
  EXPECT_THAT(ErrorOf("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), HasSubstr("calls that nest so deeply"));
  EXPECT_THAT(ErrorOf("{% set ns = namespace(x='aaaaaaaa') %}" + loop + "{% set ns.x = ns.x + ns.x %}{% endfor %}"),
              HasSubstr("more text"));
  EXPECT_THAT(ErrorOf("{{ 'a' * 99999999999 }}"), HasSubstr("more text"));
  EXPECT_THAT(ErrorOf("{{ [1] * 99999999999 }}"), HasSubstr("a list that is so long"));
  EXPECT_THAT(ErrorOf("{% set ns = namespace(x=[]) %}" + loop + "{% set ns.x = [ns.x] %}{% endfor %}"),
              HasSubstr("nest too deeply"));
  const std::string doubled =
      "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}"
      "{% set ns.y = [ns.y, ns.y] %}{% endfor %}";
  EXPECT_THAT(ErrorOf(doubled + "{{ ns.x == ns.y }}"), HasSubstr("more steps"));
  EXPECT_THAT(ErrorOf(doubled + "{{ ns.x }}"), HasSubstr("so large"));
  EXPECT_THAT(ErrorOf(doubled + "{{ ns.x|tojson }}"), HasSubstr("more "));
  EXPECT_THAT(ErrorOf(loop + "a{% endfor %}"), HasSubstr("a text of more than 1000 bytes"));
}

TEST(ChatTemplateTest, RefusesTemplatesThatNestTooDeeply) {
  const auto repeated = [](const std::string& part, int times) {
    std::string text;
    for (int i = 0; i < times; ++i) text += part;
    return text;
  };
  EXPECT_THAT(ErrorOf("{{ " + repeated("(", 5000) + "1" + repeated(")", 5000) + " }}"), HasSubstr("levels"));
  EXPECT_THAT(ErrorOf("{{ " + repeated("not ", 5000) + "1 }}"), HasSubstr("levels"));
  EXPECT_THAT(ErrorOf("{{ 1" + repeated(" + 1", 5000) + " }}"), HasSubstr("levels"));
  EXPECT_THAT(ErrorOf("{{ x" + repeated("|trim", 5000) + " }}"), HasSubstr("levels"));
  EXPECT_THAT(ErrorOf(repeated("{% if 1 %}", 5000)), HasSubstr("levels"));
  EXPECT_THAT(ErrorOf("{% if 1 %}" + repeated("{% elif 1 %}", 5000) + "{% endif %}{{ raise_exception('x') }}"),
              HasSubstr("x"));
  std::string names;
  for (int i = 0; i < 20000; ++i) names += "{% if a" + std::to_string(i) + " %}{% endif %}";
  EXPECT_THAT(ErrorOf(names), HasSubstr("so many names"));
  EXPECT_THAT(ErrorOf(std::string(kMaxTemplateBytes + 1, 'a')), HasSubstr("more than 1048576 bytes"));
  EXPECT_THAT(ErrorOf("\xff"), HasSubstr("not UTF-8"));
}

TEST(ChatTemplateTest, SaysThatAFolderHasNoTemplate) {
  TemporaryFolder folder;
  const absl::Status status = ChatTemplate::Load(folder.path(), "/models/m").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/models/m has no chat template: neither chat_template.jinja"));
}

TEST(ChatTemplateTest, RefusesATokenThatOnlyTheTokenizersClassKnows) {
  TemporaryFolder folder;
  folder.Write("chat_template.jinja", "{{ bos_token }}{{ eos_token }}");
  folder.Write("tokenizer_config.json", R"({"tokenizer_class": "LlamaTokenizer", "bos_token": null})");
  const auto loaded = ChatTemplate::Load(folder.path());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const auto text = loaded->Render({.messages = {{{"role", "user"}}}}, kMost);
  EXPECT_THAT(std::string(text.status().message()), HasSubstr("eos_token, which "));
}

}  // namespace
}  // namespace regroup
