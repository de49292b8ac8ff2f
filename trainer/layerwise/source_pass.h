// Carries the residual streams of windows through the source, one layer at a time, so that memory holds one block
// whatever the size of the model. One thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/data/token_windows.h"
#include "trainer/layerwise/residual_streams.h"
#include "trainer/model_folder/source_model.h"
#include "trainer/nn/window_runner.h"

namespace regroup {

/// Sums over tokens of what a layer's attention adds to the stream.
class BranchMoments {
 public:
  /// Adds [..., hidden size].
  void Add(const at::Tensor& branch);
  /// Returns E |a - E a|^2, the variance summed over the entries of a: 0 if a is the same for every token, and not
  /// finite if a number was not.
  double Variance() const;

 private:
  at::Tensor sum_;  // [hidden size], float64
  double square_ = 0;
  int64_t tokens_ = 0;
};

class SourcePass {
 public:
  struct Options {
    int64_t sequence_length = 0;
    at::ScalarType dtype = at::kFloat;
    at::Device device = at::kCPU;
    /// Start needs the embeddings, the largest tensors outside the blocks.
    bool with_embeddings = true;
    /// Called after each batch.
    std::function<void()> tick = {};
    /// Called with the attention inputs of each layer.
    AttentionObserver observer = {};
  };

  /// Reads the parts of the source outside its blocks that it needs. `source` must outlive it.
  static absl::StatusOr<SourcePass> Make(const SourceModel& source, Options options);

  /// Returns the source's block in the type and on the device of the pass.
  absl::StatusOr<Block> LoadBlock(int64_t layer) const;

  /// Writes the streams before the first layer. `windows` are indices into `text`; window windows[i] goes to place i.
  absl::Status Start(const TokenWindows& text, const std::vector<int64_t>& windows, ResidualStreams& streams) const;

  /// Collects what the attention of one layer adds to the streams.
  struct Branches {
    ResidualStreams* streams = nullptr;
    BranchMoments moments;
  };

  /// Writes to `after` the streams behind a layer; `before` and `after` may be the same object. Stores what the
  /// attention adds in `branches`. Either may be null; without `after`, only the attention is computed.
  absl::Status Advance(const Block& block, int64_t layer, const ResidualStreams& before, ResidualStreams* after,
                       Branches* branches = nullptr) const;

  /// Returns the number of positions that a window has in the streams.
  int64_t StreamTokens() const { return config().StreamTokens(options_.sequence_length); }
  /// Returns the number of them to which the attention of a layer adds.
  int64_t BranchTokens(int64_t layer) const;

  const WindowRunner& runner() const { return *runner_; }
  at::ScalarType dtype() const { return options_.dtype; }
  at::Device device() const { return options_.device; }
  const ModelConfig& config() const { return source_->config(); }

 private:
  SourcePass() = default;

  const SourceModel* source_ = nullptr;
  Options options_;
  /// Without blocks. On the heap, because the runner refers to it.
  std::shared_ptr<const Model> outer_;
  std::shared_ptr<const WindowRunner> runner_;
  /// The branch of the batch that Advance computes, set by the runner's observer.
  std::shared_ptr<at::Tensor> branch_;
};

/// Calls `visit` with 0 .. count - 1 in batches of at most `at_once`, until it returns an error.
absl::Status ForEachBatch(int64_t count, int64_t at_once,
                          const std::function<absl::Status(const std::vector<int64_t>&)>& visit);

}  // namespace regroup
