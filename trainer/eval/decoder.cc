#include "trainer/eval/decoder.h"

#include <ATen/ATen.h>

#include "trainer/nn/transformer.h"

namespace regroup {

void PackForDecoding(Model& model) {
  // If the embedding is also the output projection, its rows must stay available for look-up.
  const at::Tensor shared = model.head.defined() ? at::Tensor() : model.embedding;
  if (shared.defined()) model.head.weight = shared;
  VisitLinears(model, [](Linear& linear) {
    if (!linear.weight.defined() || !CanPack(linear.weight)) return;
    linear.packed = PackWeight(linear.weight);
    linear.weight.reset();
  });
  if (shared.defined()) model.head.weight.reset();
}

Decoder::Decoder(const Model& model, int64_t batch, int64_t capacity)
    : model_(model), cache_(model.config, batch, capacity, model.embedding.scalar_type(), model.embedding.device()) {}

at::Tensor Decoder::ReadPrompt(const at::Tensor& tokens_BT) {
  if (!model_.config.HasEncoder()) return Read(tokens_BT);
  Encode(tokens_BT);
  return Read(at::full_like(tokens_BT.narrow(1, 0, 1), model_.config.decoder_start_token));
}

void Decoder::Encode(const at::Tensor& tokens_BT) { RunCachedEncoder(model_, tokens_BT, cache_); }

at::Tensor Decoder::Read(const at::Tensor& tokens_BT) {
  at::NoGradGuard no_gradients;
  const at::Tensor hidden = RunCachedHiddenStates(model_, tokens_BT, cache_);
  // Only the last token's logits are needed; those of a long prompt would be by far the largest tensor.
  const at::Tensor logits = RunOutputProjection(model_, hidden.narrow(1, hidden.size(1) - 1, 1));
  // The copy to the CPU waits for the device.
  return logits.argmax(-1).to(at::kCPU).to(tokens_BT.device());
}

at::Tensor DecodeGreedily(const Model& model, const at::Tensor& prompt_BT, int64_t new_tokens) {
  Decoder decoder(model, prompt_BT.size(0), prompt_BT.size(1) + new_tokens);
  std::vector<at::Tensor> tokens;
  at::Tensor next = decoder.ReadPrompt(prompt_BT);
  for (int64_t done = 0; done < new_tokens; ++done) {
    tokens.push_back(next);
    if (done + 1 < new_tokens) next = decoder.Read(next);
  }
  return at::cat(tokens, 1);
}

}  // namespace regroup
