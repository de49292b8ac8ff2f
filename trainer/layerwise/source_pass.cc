#include "trainer/layerwise/source_pass.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include "services/common/base/status_macros.h"
#include "trainer/nn/windows_at_once.h"

namespace regroup {
namespace {

/// Share of the energy up to which a variance is rounding: the branches are computed in float32 or less.
constexpr double kRounding = 1e-12;

}  // namespace

void BranchMoments::Add(const at::Tensor& branch) {
  const at::Tensor rows = branch.flatten(0, -2).to(at::kDouble);
  const at::Tensor sum = rows.sum(0);
  sum_ = sum_.defined() ? sum_ + sum : sum;
  square_ += rows.square().sum().item<double>();
  tokens_ += rows.size(0);
}

double BranchMoments::Variance() const {
  if (tokens_ == 0) return 0;
  const double tokens = static_cast<double>(tokens_), energy = square_ / tokens;
  const double variance = energy - (sum_ / tokens).square().sum().item<double>();
  // A number that is not finite has to show, which it would not as an argument of std::max.
  return variance <= kRounding * energy ? 0.0 : variance;
}

absl::Status ForEachBatch(int64_t count, int64_t at_once,
                          const std::function<absl::Status(const std::vector<int64_t>&)>& visit) {
  for (int64_t first = 0; first < count; first += at_once) {
    std::vector<int64_t> batch(static_cast<size_t>(std::min(at_once, count - first)));
    std::iota(batch.begin(), batch.end(), first);
    REGROUP_RETURN_IF_ERROR(visit(batch));
  }
  return absl::OkStatus();
}

absl::StatusOr<SourcePass> SourcePass::Make(const SourceModel& source, Options options) {
  SourcePass pass;
  pass.source_ = &source;
  pass.options_ = std::move(options);
  REGROUP_ASSIGN_OR_RETURN(Model outer, source.MapOuter());
  outer.head = {};
  if (!pass.options_.with_embeddings) {
    outer.embedding = outer.positions = at::Tensor();
    outer.encoder_embedding = outer.encoder_positions = at::Tensor();
    outer.first_convolution = outer.second_convolution = {};
  }
  VisitOuter(outer, [&](const std::string&, at::Tensor& tensor) {
    if (tensor.defined()) tensor = tensor.to(pass.device(), pass.dtype());
  });
  pass.outer_ = std::make_shared<const Model>(std::move(outer));
  pass.branch_ = std::make_shared<at::Tensor>();
  const auto keep = [branch = pass.branch_](int64_t, const at::Tensor& added) { *branch = added; };
  pass.runner_ =
      std::make_shared<const WindowRunner>(*pass.outer_, pass.options_.sequence_length, pass.device(),
                                           WindowOptions{.observer = pass.options_.observer, .branch_observer = keep});
  return pass;
}

absl::StatusOr<Block> SourcePass::LoadBlock(int64_t layer) const {
  REGROUP_ASSIGN_OR_RETURN(Block block, source_->MapBlock(layer));
  ConvertBlock(block, dtype(), device());
  return block;
}

absl::Status SourcePass::Start(const TokenWindows& text, const std::vector<int64_t>& windows,
                               ResidualStreams& streams) const {
  const at::NoGradGuard no_gradients;
  for (size_t i = 0; i < windows.size(); ++i) {
    at::Tensor tokens = at::empty({1, options_.sequence_length}, at::kLong);
    text.Copy(windows[i], tokens.mutable_data_ptr<int64_t>());
    REGROUP_RETURN_IF_ERROR(streams.Write({static_cast<int64_t>(i)}, runner_->Start(tokens.to(device()))));
    options_.tick();
  }
  return absl::OkStatus();
}

int64_t SourcePass::BranchTokens(int64_t layer) const {
  const int64_t encoder = config().EncoderTokens(options_.sequence_length);
  return config().Role(layer) == AttentionRole::kEncoder ? encoder : StreamTokens() - encoder;
}

absl::Status SourcePass::Advance(const Block& block, int64_t layer, const ResidualStreams& before,
                                 ResidualStreams* after, Branches* branches) const {
  const at::NoGradGuard no_gradients;
  const auto advance = [&](const std::vector<int64_t>& windows) -> absl::Status {
    REGROUP_ASSIGN_OR_RETURN(const at::Tensor streams, before.Read(windows, dtype(), device()));
    const at::Tensor counted = runner_->Counted(streams, layer);
    if (after != nullptr) {
      REGROUP_RETURN_IF_ERROR(after->Write(windows, runner_->Advance(streams, block, layer)));
    } else {
      const AttentionRows rows = RowsOfAttention(runner_->InputsOf(streams, block, layer), block.attention);
      *branch_ =
          AttentionBranch(AttendHeads(rows, block.attention, config(), runner_->positions(layer)), block, config());
      *branch_ = ZeroUncounted(*branch_, counted);
    }
    if (branches != nullptr) {
      REGROUP_RETURN_IF_ERROR(branches->streams->Write(windows, *branch_));
      branches->moments.Add(CountedRows(*branch_, counted));
    }
    options_.tick();
    return absl::OkStatus();
  };
  return ForEachBatch(before.shape().windows, WindowsAtOnce(StreamTokens()), advance);
}

}  // namespace regroup
