// Runs a model over whole windows of tokens, layer by layer, for callers that hold one layer at a time.
//
// Between layers there is one stream [B, T, D] for every kind of model. In an encoder-decoder its first part is the
// encoder's residual stream, and after the encoder the encoder's output; the rest is the decoder's stream. Immutable;
// any thread.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "trainer/nn/lent_block.h"
#include "trainer/nn/model.h"
#include "trainer/nn/positions.h"
#include "trainer/nn/transformer.h"

namespace regroup {

/// The part that the backward pass recomputes instead of keeping it in memory.
enum class Recompute { kNothing, kFeedForward, kBlock };

/// Called with the attention inputs of each layer.
using AttentionObserver = std::function<void(int64_t layer, const AttentionRows& rows)>;

struct WindowOptions {
  /// Number of tokens of a window that an encoder reads; by default ModelConfig::EncoderTokens.
  std::optional<int64_t> encoder_tokens = {};
  Recompute recompute = Recompute::kNothing;
  /// The document of each token, int64 [B, T]: attention stays within a document, and learned positions restart with
  /// it. Not for encoder-decoders. Undefined: the whole window is one document.
  at::Tensor documents = {};
  /// The same on the CPU, if the caller has it: a copy from a GPU makes the host wait.
  at::Tensor host_documents = {};
  /// True if attention may be by SequenceLayout, so that WindowRunner::positions has no bias. RunHiddenStates sets it.
  bool may_attend_sequences = false;
  AttentionObserver observer = {};
  /// Called with what the attention of each layer adds to its part of the stream, [B, tokens of the part, D].
  std::function<void(int64_t layer, const at::Tensor& branch)> branch_observer = {};
  /// Angles of the model's positions (MakeRotaryTables), of which there are at least as many as tokens in a window, and
  /// which are computed for every runner otherwise. Must outlive the runner.
  const std::vector<RotaryTable>* rotary = nullptr;
  /// If set, it lends the weights of every block, and the model's own blocks are not used; without observers. Must
  /// outlive the backward pass, which recomputes blocks.
  BlockLender* lender = nullptr;
};

class WindowRunner {
 public:
  /// Runs windows of `tokens`. `outer` is a model whose blocks are not used; it must outlive the runner.
  WindowRunner(const Model& outer, int64_t tokens, at::Device device, WindowOptions options = {});

  /// Returns the stream before the first layer.
  at::Tensor Start(const at::Tensor& tokens_BT) const;

  /// Returns the stream after a layer.
  at::Tensor Advance(const at::Tensor& stream_BTD, const Block& block, int64_t layer) const;

  /// Applies FinalStates; for an encoder-decoder to the decoder's part only.
  at::Tensor Finish(const at::Tensor& stream_BTD) const;

  /// Returns the part of the stream that a layer reads and adds to.
  at::Tensor PartOf(const at::Tensor& stream_BTD, int64_t layer) const;
  /// Returns the inputs of the layer's attention.
  AttentionInputs InputsOf(const at::Tensor& stream_BTD, const Block& block, int64_t layer) const;
  const PositionTables& positions(int64_t layer) const;
  /// Returns which rows of PartOf are of tokens, boolean [B, T]; undefined if all are. The others fill windows with
  /// audio, whose transcripts differ in length: they are zero before every layer, and nothing attends to them.
  at::Tensor Counted(const at::Tensor& stream_BTD, int64_t layer) const;

 private:
  at::Tensor EncoderPart(const at::Tensor& stream_BTD) const { return stream_BTD.narrow(1, 0, encoder_tokens_); }
  at::Tensor DecoderPart(const at::Tensor& stream_BTD) const;
  /// Returns the encoder's output if the layer is cross attention.
  at::Tensor MemoryOf(const at::Tensor& stream_BTD, int64_t layer) const;

  at::Tensor RunPart(const at::Tensor& stream_BTD, const Block& block, int64_t layer) const;
  /// Returns the tables of the decoder's self-attention for each kind.
  std::vector<PositionTables> DecoderTables(int64_t tokens, at::Device device) const;
  /// Returns the layout of attention within documents, or within rows, without a window; nullopt if it is by masks.
  std::optional<SequenceLayout> LayoutOf(int64_t tokens, at::Device device) const;

  const Model& outer_;
  const ModelConfig& config_;
  WindowOptions options_;
  /// Entries of a window that the encoder reads, and the positions of its stream.
  int64_t encoder_inputs_ = 0, encoder_tokens_ = 0;
  /// By kind of attention.
  std::vector<PositionTables> encoder_;
  PositionTables cross_;
  /// By kind of attention.
  std::vector<PositionTables> decoder_;
};

/// Returns the rows that count, [N, D]; all if `counted_BT` is undefined.
at::Tensor CountedRows(const at::Tensor& x_BTD, const at::Tensor& counted_BT);

/// Returns x_BTD with zeros in rows that do not count.
at::Tensor ZeroUncounted(const at::Tensor& x_BTD, const at::Tensor& counted_BT);

/// Returns the hidden states of the last block after normalisation and scaling, for tokens_BT (int64): [B, T, D]. An
/// encoder-decoder encodes the first `encoder_tokens` of them, and its decoder's states [B, T - encoder_tokens, D]
/// predict the others.
at::Tensor RunHiddenStates(const Model& model, const at::Tensor& tokens_BT, const WindowOptions& options = {});

/// The states of RunHiddenStates that predict a token of tokens_BT, and the tokens that they predict.
struct Predictions {
  at::Tensor hidden;   // [B, P, D]
  at::Tensor targets;  // [B, P]
};
Predictions RunPredictions(const Model& model, const at::Tensor& tokens_BT, const WindowOptions& options = {});

}  // namespace regroup
