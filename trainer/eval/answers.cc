#include "trainer/eval/answers.h"

#include <ATen/ATen.h>

#include "services/common/base/status_macros.h"
#include "trainer/data/tokenizer/utf8.h"
#include "trainer/eval/decoder.h"

namespace regroup {

absl::StatusOr<std::vector<int32_t>> PromptTokens(const Tokenizer& tokenizer, const std::string& prompt,
                                                  const ModelConfig& config) {
  const Conversation conversation{.messages = {{{"role", "user"}, {"content", prompt}}}, .asks_for_answer = true};
  const auto rendered = tokenizer.Render(conversation);
  if (rendered.ok()) return tokenizer.EncodeOrdinary(*rendered);
  if (!absl::IsNotFound(rendered.status())) return rendered.status();
  REGROUP_ASSIGN_OR_RETURN(std::vector<int32_t> ids, tokenizer.Encode(prompt));
  // Post-processing that ends every text would also end the prompt. An encoder was trained on texts that end.
  if (!config.HasEncoder() && tokenizer.eos_id() && !ids.empty() && ids.back() == *tokenizer.eos_id()) ids.pop_back();
  return ids;
}

absl::StatusOr<Answer> AnswerPrompt(const Model& model, const Tokenizer& tokenizer, const std::vector<int32_t>& prompt,
                                    int64_t most_tokens) {
  const at::Tensor prompt_BT = at::tensor(std::vector<int64_t>(prompt.begin(), prompt.end()), at::kLong)
                                   .unsqueeze(0)
                                   .to(model.embedding.device());
  Decoder decoder(model, 1, prompt_BT.size(1) + most_tokens);
  std::vector<int32_t> ids;
  Answer answer;
  at::Tensor next = decoder.ReadPrompt(prompt_BT);
  while (true) {
    const auto id = static_cast<int32_t>(next.item<int64_t>());
    answer.ended = tokenizer.eos_id() == id;
    if (!answer.ended) ids.push_back(id);
    if (answer.ended || std::ssize(ids) == most_tokens) break;
    next = decoder.Read(next);
  }
  answer.tokens = std::ssize(ids);
  REGROUP_ASSIGN_OR_RETURN(const std::string text, tokenizer.Decode(ids));
  // An answer that was cut off may end within a character.
  answer.text = WithReplacementCharacters(text);
  return answer;
}

}  // namespace regroup
