// Input: a tokenizer.json, and after a zero byte a text to encode. An accepted tokenizer encodes any text into ids of
// its vocabulary and decodes them, or returns an error.
#include <string_view>

#include "services/common/base/bounded_json.h"
#include "tests/fuzz/require.h"
#include "trainer/data/tokenizer/json_tokenizer.h"

namespace regroup {
namespace {

constexpr std::string_view kText = "Hello,  world's 12 <s>▁ü\u00a0 e\u0301\n\nab</s> ab ";

void Encode(const JsonTokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.Encode(text);
  if (!ids.ok()) return;
  REGROUP_REQUIRE(ids->size() <= 64 * (text.size() + 64));
  for (const int32_t id : *ids) REGROUP_REQUIRE(id >= 0 && id < tokenizer.vocabulary_size());
  const auto decoded = tokenizer.Decode(*ids);
  REGROUP_REQUIRE(decoded.ok() || !decoded.status().message().empty());
}

}  // namespace
}  // namespace regroup

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = input.find('\0');
  const auto json = regroup::ParseJsonObject(input.substr(0, end));
  if (!json.ok()) return 0;
  const auto tokenizer = regroup::JsonTokenizer::Parse(*json);
  if (!tokenizer.ok()) return 0;
  regroup::Encode(**tokenizer, regroup::kText);
  if (end != std::string_view::npos) regroup::Encode(**tokenizer, input.substr(end + 1));
  return 0;
}
