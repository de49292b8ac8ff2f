#include "trainer/layerwise/source_pass.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include "services/common/base/status_macros.h"

namespace regroup {

void BranchMoments::Add(const at::Tensor& branch) {
  const at::Tensor rows = branch.flatten(0, -2).to(at::kDouble);
  const at::Tensor sum = rows.sum(0);
  sum_ = sum_.defined() ? sum_ + sum : sum;
  square_ += rows.square().sum().item<double>();
  tokens_ += rows.size(0);
}

double BranchMoments::Variance() const {
  if (tokens_ == 0) return 0;
  const double tokens = static_cast<double>(tokens_);
  return std::max(0.0, square_ / tokens - (sum_ / tokens).square().sum().item<double>());
}

int64_t WindowsAtOnce(int64_t sequence_length) { return std::max<int64_t>(1, 2048 / sequence_length); }

void ForEachBatch(int64_t count, int64_t at_once, const std::function<void(const std::vector<int64_t>&)>& visit) {
  for (int64_t first = 0; first < count; first += at_once) {
    std::vector<int64_t> batch(static_cast<size_t>(std::min(at_once, count - first)));
    std::iota(batch.begin(), batch.end(), first);
    visit(batch);
  }
}

absl::StatusOr<SourcePass> SourcePass::Make(const SourceModel& source, int64_t sequence_length, at::ScalarType dtype,
                                            at::Device device, std::function<void()> tick) {
  SourcePass pass;
  pass.source_ = &source;
  pass.sequence_length_ = sequence_length;
  pass.dtype_ = dtype;
  pass.device_ = device;
  pass.tick_ = std::move(tick);
  REGROUP_ASSIGN_OR_RETURN(Model outer, source.MapOuter());
  VisitOuter(outer, [&](const std::string&, at::Tensor& tensor) {
    if (tensor.defined()) tensor = tensor.to(device, dtype);
  });
  pass.outer_ = std::make_shared<const Model>(std::move(outer));
  pass.branch_ = std::make_shared<at::Tensor>();
  const auto keep = [branch = pass.branch_](int64_t, const at::Tensor& added) { *branch = added; };
  pass.runner_ = std::make_shared<const WindowRunner>(*pass.outer_, sequence_length, device,
                                                      WindowOptions{.branch_observer = keep});
  return pass;
}

absl::StatusOr<Block> SourcePass::LoadBlock(int64_t layer) const {
  REGROUP_ASSIGN_OR_RETURN(Block block, source_->MapBlock(layer));
  ConvertBlock(block, dtype_, device_);
  return block;
}

void SourcePass::Start(const TokenWindows& text, const std::vector<int64_t>& windows,
                       const std::vector<int64_t>& places, ResidualStreams& streams) const {
  const at::NoGradGuard no_gradients;
  for (size_t i = 0; i < windows.size(); ++i) {
    at::Tensor tokens = at::empty({1, sequence_length_}, at::kLong);
    text.Copy(windows[i], tokens.mutable_data_ptr<int64_t>());
    streams.Write({places[i]}, runner_->Start(tokens.to(device_)));
    tick_();
  }
}

int64_t SourcePass::BranchTokens(int64_t layer) const {
  const int64_t encoder = config().EncoderTokens(sequence_length_);
  return config().Role(layer) == AttentionRole::kEncoder ? encoder : sequence_length_ - encoder;
}

void SourcePass::Advance(const Block& block, int64_t layer, const ResidualStreams& before, ResidualStreams* after,
                         Branches* branches) const {
  const at::NoGradGuard no_gradients;
  ForEachBatch(before.shape().windows, WindowsAtOnce(sequence_length_), [&](const std::vector<int64_t>& windows) {
    const at::Tensor streams = before.Read(windows, dtype_, device_);
    if (after != nullptr) {
      after->Write(windows, runner_->Advance(streams, block, layer));
    } else {
      const AttentionRows rows = RowsOfAttention(runner_->InputsOf(streams, block, layer), block.attention);
      *branch_ =
          AttentionBranch(AttendHeads(rows, block.attention, config(), runner_->positions(layer)), block, config());
    }
    if (branches != nullptr) {
      branches->streams->Write(windows, *branch_);
      branches->moments.Add(*branch_);
    }
    tick_();
  });
}

}  // namespace regroup
