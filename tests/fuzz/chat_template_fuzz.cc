// Input: a chat template, and after a zero byte the messages of a conversation as JSON. An accepted template renders
// them within the bound, twice to the same text, or returns an error that names the template.
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "services/common/base/bounded_json.h"
#include "tests/fuzz/require.h"
#include "trainer/data/chat_template/chat_template.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup {
namespace {

constexpr size_t kMostBytes = 1 << 16;
constexpr std::string_view kMessages =
    R"([{"role": "user", "content": "ü a"}, {"role": "assistant", "content": null, "tool_calls": [{"function": {}}]}])";

void Render(const ChatTemplate& chat, std::string_view messages) {
  if (JsonDepth(messages) > kMaxJsonDepth) return;
  const auto json = nlohmann::ordered_json::parse(messages, nullptr, /*allow_exceptions=*/false);
  if (!json.is_array()) return;
  const auto text = chat.Render({.messages = json}, kMostBytes);
  REGROUP_REQUIRE(text.ok() || !text.status().message().empty());
  if (!text.ok()) return;
  REGROUP_REQUIRE(text->size() <= kMostBytes && IsValidUtf8(*text));
  REGROUP_REQUIRE(chat.Render({.messages = json}, kMostBytes).value() == *text);
}

}  // namespace
}  // namespace regroup

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = input.find('\0');
  const auto chat = regroup::ChatTemplate::Parse(input.substr(0, end), "template", {{"bos_token", "<s>"}});
  if (!chat.ok()) return 0;
  regroup::Render(*chat, regroup::kMessages);
  if (end != std::string_view::npos) regroup::Render(*chat, input.substr(end + 1));
  return 0;
}
