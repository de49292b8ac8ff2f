#include "trainer/data/conversation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "trainer/data/text_reader.h"
#include "trainer/data/tokenise.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kTemplate[] =
    "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}"
    "{% if tools %}{{ tools|tojson }}{% endif %}{{ name }}";

/// Encodes the letters of a text, with 1 before them; its end token is 2.
class FakeTokenizer final : public Tokenizer {
 public:
  explicit FakeTokenizer(const std::string& source) : chat_(ChatTemplate::Parse(source, "chat_template.jinja")) {}

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const override {
    std::vector<int32_t> ids = {1};
    ids.insert(ids.end(), text.begin(), text.end());
    return ids;
  }
  absl::StatusOr<std::vector<int32_t>> EncodeOrdinary(std::string_view text) const override {
    return std::vector<int32_t>(text.begin(), text.end());
  }
  absl::StatusOr<std::string> Decode(std::span<const int32_t>) const override { return ""; }
  absl::StatusOr<std::string> Render(const Conversation& conversation) const override {
    return chat_.ok() ? chat_->Render(conversation, kMaxLineBytes) : chat_.status();
  }
  std::optional<int32_t> bos_id() const override { return 1; }
  std::optional<int32_t> eos_id() const override { return 2; }
  int64_t vocabulary_size() const override { return 128; }

 private:
  absl::StatusOr<ChatTemplate> chat_;
};

class ConversationTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::string> Read(const std::string& line, const std::string& field = kTextField,
                                   const std::string& source = kTemplate) {
    const FakeTokenizer tokenizer(source);
    auto reader = TextReader::Open(folder_.Write("x.jsonl", line), field, &tokenizer);
    const auto text = reader->Next();
    if (!text.ok()) return text.status();
    return text->value_or("the end");
  }
  std::string ErrorOf(const std::string& line, const std::string& source = kTemplate) {
    return std::string(Read(line, kTextField, source).status().message());
  }

  TemporaryFolder folder_;
};

TEST_F(ConversationTest, RendersMessages) {
  EXPECT_EQ(*Read(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})"),
            "user:a;assistant:b;");
}

TEST_F(ConversationTest, GivesTheTemplateToolsInTheirOrderAndVariables) {
  EXPECT_EQ(*Read(R"({"messages": [{"role": "user", "content": "a"}], "tools": [{"b": 1, "a": [2.0, null]}],)"
                  R"( "chat_template_kwargs": {"name": "n"}})"),
            R"(user:a;[{"b": 1, "a": [2.0, null]}]n)");
}

TEST_F(ConversationTest, ReadsTheFieldThatIsNamed) {
  const std::string line = R"({"chat": [{"role": "r", "content": "c"}], "messages": [{"role": "x"}], "text": "t"})";
  EXPECT_EQ(*Read(line, "chat"), "r:c;");
  EXPECT_EQ(*Read(line), "t");
}

TEST_F(ConversationTest, TranslatesShareGpt) {
  EXPECT_EQ(*Read(R"({"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "h"},)"
                  R"( {"from": "gpt", "value": "g"}]})"),
            "system:s;user:h;assistant:g;");
  EXPECT_THAT(ErrorOf(R"({"conversations": [{"from": "function_call", "value": "s"}]})"),
              HasSubstr("x.jsonl:1: \"from\": \"function_call\" in \"conversations\" is not human"));
  EXPECT_THAT(ErrorOf(R"({"conversations": [{"from": "human", "value": 3}]})"), HasSubstr("must be a string"));
}

TEST_F(ConversationTest, NamesWhatIsWrongWithALine) {
  const std::string messages = R"("messages": [{"role": "user", "content": "a"}])";
  EXPECT_THAT(ErrorOf(R"({"messages": []})"), HasSubstr("x.jsonl:1: the conversation in \"messages\" is empty"));
  EXPECT_THAT(ErrorOf(R"({"messages": [{"role": "a"}, "b"]})"), HasSubstr("must be a list of objects"));
  EXPECT_THAT(ErrorOf("{" + messages + R"(, "conversations": []})"), HasSubstr("the key `field`"));
  EXPECT_THAT(ErrorOf("{" + messages + R"(, "tools": "[]"})"), HasSubstr("\"tools\" must be a list of objects"));
  EXPECT_THAT(ErrorOf("{" + messages + R"(, "chat_template_kwargs": []})"), HasSubstr("must be an object"));
  EXPECT_THAT(ErrorOf("{" + messages + R"(, "chat_template_kwargs": {"add_generation_prompt": true}})"),
              HasSubstr("\"add_generation_prompt\" in \"chat_template_kwargs\""));
  EXPECT_THAT(ErrorOf(R"({"messages": [{"n": 123456789012345678901}]})"), HasSubstr("is too large"));
}

TEST_F(ConversationTest, NamesTheLineThatATemplateRefuses) {
  const std::string line = R"({"messages": [{"role": "user", "content": "a"}]})";
  EXPECT_THAT(
      ErrorOf(line, "{{ raise_exception('Turns!') }}"),
      HasSubstr("x.jsonl:1: the conversation in \"messages\": the chat template refuses the conversation: Turns!"));
  EXPECT_THAT(ErrorOf(line, "\n{% include 'x' %}"), HasSubstr("chat_template.jinja:2: "));
}

TEST_F(ConversationTest, AddsNoTokensToAConversation) {
  const FakeTokenizer tokenizer("{{ messages[0].content }}");
  const auto path = folder_.Write("x.jsonl", "{\"messages\": [{\"content\": \"a\"}]}\n{\"text\": \"b\"}\n");
  std::vector<std::vector<int32_t>> all;
  const auto take = [&](const TokenisedText& text) {
    all.push_back(text.ids);
    return absl::OkStatus();
  };
  ASSERT_TRUE(Tokenise({path}, tokenizer, {}, take).ok());
  EXPECT_THAT(all, ElementsAre(ElementsAre('a'), ElementsAre(1, 'b', 2)));
}

TEST_F(ConversationTest, IsNoInstruction) {
  auto reader = InstructionReader::Open(folder_.Write("x.jsonl", R"({"messages": [{"role": "user"}]})"));
  EXPECT_THAT(std::string(reader->Next().status().message()),
              HasSubstr("\"messages\" is a conversation, but finetune.loss: bild"));
}

}  // namespace
}  // namespace regroup
