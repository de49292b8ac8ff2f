#include "trainer/nn/window_runner.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "trainer/nn/recompute.h"

namespace regroup {

WindowRunner::WindowRunner(const Model& outer, int64_t tokens, at::Device device, WindowOptions options)
    : outer_(outer),
      config_(outer.config),
      options_(std::move(options)),
      encoder_inputs_(config_.HasEncoder() ? options_.encoder_tokens.value_or(config_.EncoderInputs(tokens)) : 0),
      encoder_tokens_(config_.ReadsAudio() ? config_.EncoderTokens(tokens) : encoder_inputs_),
      encoder_(config_.HasEncoder() ? EncoderPositions(outer, encoder_tokens_, device) : std::vector<PositionTables>()),
      cross_{.causal = false},
      decoder_(DecoderTables(tokens, device)) {}

std::vector<PositionTables> WindowRunner::DecoderTables(int64_t tokens, at::Device device) const {
  const int64_t own_tokens = tokens - encoder_inputs_;
  const std::vector<RotaryTable> rotary =
      options_.rotary != nullptr ? *options_.rotary : MakeRotaryTables(config_, own_tokens, device);
  const std::optional<SequenceLayout> layout = LayoutOf(tokens, device);
  const at::Tensor& documents = options_.documents;
  std::vector<PositionTables> tables;
  for (size_t i = 0; i < config_.kinds.size(); ++i) {
    const AttentionKind& kind = config_.kinds[i];
    PositionTables& table = tables.emplace_back(PositionTables{.rotary = rotary[i]});
    const bool windowed = kind.TokensSeen(own_tokens) < own_tokens;
    if (layout.has_value() && (documents.defined() || windowed)) {
      table.sequences = layout;
      table.sequences->window = windowed ? kind.sliding_window : 0;
    } else if (config_.relative_bias.buckets > 0) {
      table.bias = RelativePositionBias(outer_.decoder_relative_bias, config_.relative_bias, 0, own_tokens, false);
    } else {
      table.bias = MakePositionBias(config_, kind, 0, own_tokens, device);
      if (documents.defined()) table.bias = WithinDocuments(table.bias, documents);
    }
  }
  return tables;
}

std::optional<SequenceLayout> WindowRunner::LayoutOf(int64_t tokens, at::Device device) const {
  // The kernel's backward pass keeps a block of 128 tokens more for each document.
  constexpr int64_t kFewestTokens = 64;
  const at::Tensor& documents = options_.documents;
  if (!options_.may_attend_sequences || config_.HasEncoder() || config_.HeadsHavePositionBias()) return {};
  const bool has_window =
      std::ranges::any_of(config_.kinds, [&](const AttentionKind& kind) { return kind.TokensSeen(tokens) < tokens; });
  if ((!documents.defined() && !has_window) || config_.attention_soft_cap > 0) return {};
  if (!CanAttendSequences(device, outer_.embedding.scalar_type(), config_.head_width)) return {};
  if (!documents.defined()) return SequenceLayout{};
  const at::Tensor& on_host = options_.host_documents;
  const SequenceLayout layout = LayoutOfDocuments(on_host.defined() ? on_host : documents.cpu(), /*window=*/0, device);
  const int64_t count = layout.starts.numel() - 1;
  return count > documents.size(0) && count * kFewestTokens > documents.numel() ? std::nullopt
                                                                                : std::make_optional(layout);
}

at::Tensor WindowRunner::DecoderPart(const at::Tensor& stream_BTD) const {
  return stream_BTD.narrow(1, encoder_tokens_, stream_BTD.size(1) - encoder_tokens_);
}

at::Tensor WindowRunner::PartOf(const at::Tensor& stream_BTD, int64_t layer) const {
  return config_.Role(layer) == AttentionRole::kEncoder ? EncoderPart(stream_BTD) : DecoderPart(stream_BTD);
}

at::Tensor WindowRunner::MemoryOf(const at::Tensor& stream_BTD, int64_t layer) const {
  return config_.Role(layer) == AttentionRole::kCross ? EncoderPart(stream_BTD) : at::Tensor();
}

const PositionTables& WindowRunner::positions(int64_t layer) const {
  switch (config_.Role(layer)) {
    case AttentionRole::kEncoder:
      return encoder_[static_cast<size_t>(config_.KindIndex(layer))];
    case AttentionRole::kCross:
      return cross_;
    case AttentionRole::kDecoder:
      break;
  }
  return decoder_[static_cast<size_t>(config_.KindIndex(layer))];
}

AttentionInputs WindowRunner::InputsOf(const at::Tensor& stream_BTD, const Block& block, int64_t layer) const {
  return InputsOfAttention(PartOf(stream_BTD, layer), MemoryOf(stream_BTD, layer), block, config_);
}

at::Tensor WindowRunner::Start(const at::Tensor& tokens_BT) const {
  if (options_.documents.defined()) return Embed(outer_, tokens_BT, PlacesInDocuments(options_.documents));
  if (!config_.HasEncoder()) return Embed(outer_, tokens_BT);
  // The decoder's input is the predicted tokens, shifted right by one position.
  const at::Tensor predicted = tokens_BT.slice(1, encoder_inputs_);
  const at::Tensor start = at::full_like(predicted.narrow(1, 0, 1), config_.decoder_start_token);
  const at::Tensor read = at::cat({start, predicted.narrow(1, 0, predicted.size(1) - 1)}, 1);
  const at::Tensor memory = EmbedForEncoder(outer_, tokens_BT.narrow(1, 0, encoder_inputs_));
  if (!config_.ReadsAudio()) return at::cat({memory, Embed(outer_, read)}, 1);
  return at::cat({memory, Embed(outer_, read.clamp_min(0)) * predicted.ge(0).unsqueeze(-1)}, 1);
}

at::Tensor WindowRunner::Counted(const at::Tensor& stream_BTD, int64_t layer) const {
  if (!config_.ReadsAudio() || config_.Role(layer) == AttentionRole::kEncoder) return {};
  return DecoderPart(stream_BTD).detach().ne(0).any(-1);
}

at::Tensor WindowRunner::RunPart(const at::Tensor& stream_BTD, const Block& block, int64_t layer) const {
  BlockContext context{.positions = positions(layer), .memory = MemoryOf(stream_BTD, layer)};
  const at::Tensor counted = Counted(stream_BTD, layer);
  if (options_.observer) {
    context.observer = [&](AttentionRows rows) {
      rows.counted = counted;
      options_.observer(layer, rows);
    };
  }
  if (options_.branch_observer) {
    context.branch_observer = [&](const at::Tensor& branch) {
      options_.branch_observer(layer, ZeroUncounted(branch, counted));
    };
  }
  context.recompute_feed_forward = options_.recompute == Recompute::kFeedForward;
  const at::Tensor part = PartOf(stream_BTD, layer);
  const bool recomputes = options_.recompute == Recompute::kBlock;
  if (options_.lender != nullptr) {
    return ZeroUncounted(RunLentBlock(part, *options_.lender, layer, config_, context, !recomputes), counted);
  }
  return ZeroUncounted(
      recomputes ? RunBlockRecomputed(part, block, config_, context) : RunBlock(part, block, config_, context),
      counted);
}

at::Tensor WindowRunner::Advance(const at::Tensor& stream_BTD, const Block& block, int64_t layer) const {
  at::Tensor part = RunPart(stream_BTD, block, layer);
  if (!config_.HasEncoder()) return part;
  if (config_.Role(layer) != AttentionRole::kEncoder) return at::cat({EncoderPart(stream_BTD), part}, 1);
  if (layer + 1 == config_.encoder_layers) part = EncoderOutput(part, outer_);
  return at::cat({part, DecoderPart(stream_BTD)}, 1);
}

at::Tensor WindowRunner::Finish(const at::Tensor& stream_BTD) const {
  return FinalStates(DecoderPart(stream_BTD), outer_);
}

at::Tensor CountedRows(const at::Tensor& x_BTD, const at::Tensor& counted_BT) {
  const at::Tensor rows = x_BTD.flatten(0, -2);
  return counted_BT.defined() ? rows.index_select(0, counted_BT.flatten().nonzero().squeeze(-1)) : rows;
}

at::Tensor ZeroUncounted(const at::Tensor& x_BTD, const at::Tensor& counted_BT) {
  return counted_BT.defined() ? x_BTD * counted_BT.unsqueeze(-1) : x_BTD;
}

at::Tensor RunHiddenStates(const Model& model, const at::Tensor& tokens_BT, const WindowOptions& options) {
  WindowOptions own = options;
  own.may_attend_sequences = true;
  const WindowRunner runner(model, tokens_BT.size(1), tokens_BT.device(), std::move(own));
  at::Tensor stream = runner.Start(tokens_BT);
  for (size_t layer = 0; layer < model.blocks.size(); ++layer) {
    stream = runner.Advance(stream, model.blocks[layer], static_cast<int64_t>(layer));
  }
  return runner.Finish(stream);
}

Predictions RunPredictions(const Model& model, const at::Tensor& tokens_BT, const WindowOptions& options) {
  const int64_t tokens = tokens_BT.size(1);
  const int64_t first =
      model.config.HasEncoder() ? options.encoder_tokens.value_or(model.config.EncoderInputs(tokens)) : 1;
  // Nothing depends on reading the last token, and the model may have no position for it.
  const int64_t read = tokens == model.config.max_positions + 1 && !model.config.HasEncoder() ? tokens - 1 : tokens;
  const at::Tensor hidden = RunHiddenStates(model, tokens_BT.narrow(1, 0, read), options);
  return {hidden.narrow(1, 0, tokens - first), tokens_BT.narrow(1, first, tokens - first)};
}

}  // namespace regroup
