#include "trainer/training/sliced_blocks.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "trainer/nn/parameter_names.h"

namespace regroup {
namespace {

void SetMemory(const at::Tensor& tensor, size_t bytes) {
  c10::StorageImpl* const storage = tensor.storage().unsafeGetStorageImpl();
  storage->set_data_ptr_noswap(bytes > 0 ? storage->allocator()->allocate(bytes)
                                         : at::DataPtr(nullptr, tensor.device()));
  storage->set_nbytes(bytes);
}

}  // namespace

BlockPart PartOfBlock(const std::string& parameter) {
  if (IsOfSharedHeads(parameter)) return BlockPart::kSharedHeads;
  return IsOfAttention(parameter) ? BlockPart::kAttention : BlockPart::kRest;
}

std::map<BlockPart, std::vector<at::Tensor*>> PartsOfBlock(Block& block) {
  std::map<BlockPart, std::vector<at::Tensor*>> parts;
  VisitBlock(block, 0, [&](const std::string& name, at::Tensor& tensor) {
    if (tensor.defined()) parts[PartOfBlock(name)].push_back(&tensor);
  });
  return parts;
}

void SlicedBlocks::Add(int64_t layer, BlockPart part, std::vector<at::Tensor*> slots) {
  if (slots.empty()) return;
  layers_[layer][part] = std::make_unique<SlicedTensors>(std::move(slots), place_.rank, place_.size);
}

void SlicedBlocks::Add(int64_t layer, Block& block) {
  for (auto& [part, slots] : PartsOfBlock(block)) Add(layer, part, std::move(slots));
}

void SlicedBlocks::FetchOn(Communicator& communicator, SideLane& lane, bool overlaps) {
  communicator_ = &communicator;
  lane_ = &lane;
  overlaps_ = overlaps;
}

SlicedTensors* SlicedBlocks::Find(int64_t layer, BlockPart part) const {
  const auto found = layers_[layer].find(part);
  return found == layers_[layer].end() ? nullptr : found->second.get();
}

SlicedBlocks::Fetched SlicedBlocks::Fetch(int64_t layer, const std::vector<BlockPart>& parts) {
  Fetched fetched{.layer = layer, .parts = parts};
  for (const BlockPart part : parts) {
    const SlicedTensors* const sliced = Find(layer, part);
    if (sliced == nullptr) continue;
    at::Tensor& whole = fetched.wholes[part];
    if (place_.size == 1) {
      whole = sliced->slice();
      continue;
    }
    whole = sliced->MakeWhole();
    LaunchGather(*sliced, whole);
  }
  fetched.mark = lane_->Mark();
  return fetched;
}

void SlicedBlocks::LaunchGather(const SlicedTensors& sliced, at::Tensor whole) {
  lane_->Launch([this, slice = sliced.slice(), whole = std::move(whole)]() mutable {
    return communicator_->AllGather(slice, whole);
  });
}

SlicedBlocks::Fetched SlicedBlocks::FetchAside(int64_t layer) {
  Fetched fetched{.layer = layer, .wholes = aside_[layer]};
  for (const auto& [part, whole] : fetched.wholes) {
    if (place_.size == 1) continue;
    SetMemory(whole, static_cast<size_t>(whole.numel()) * whole.element_size());
    // Autograd must not take this for a change of what it has saved.
    LaunchGather(*Find(layer, part), whole.variable_data());
  }
  fetched.mark = lane_->Mark();
  return fetched;
}

void SlicedBlocks::Fill(int64_t layer, const std::vector<BlockPart>& parts, const std::vector<BlockPart>& trained,
                        Pass pass) {
  const bool is_ahead = next_.layer == layer && next_.parts == parts;
  TORCH_CHECK(is_ahead || next_.layer < 0, "layer ", next_.layer, " was fetched ahead, but layer ", layer, " is used");
  filled_ = is_ahead ? std::exchange(next_, {}) : Fetch(layer, parts);
  const int64_t following = pass == Pass::kForward ? layer + 1 : layer - 1;
  if (overlaps_ && following >= 0 && following < static_cast<int64_t>(layers_.size())) next_ = Fetch(following, parts);
  lane_->WaitFor(filled_.mark);
  for (const auto& [part, whole] : filled_.wholes) {
    const bool trains = std::find(trained.begin(), trained.end(), part) != trained.end();
    Find(layer, part)->Fill(whole, trains);
  }
}

void SlicedBlocks::Empty(int64_t layer) {
  for (auto& [part, sliced] : layers_[layer]) sliced->Empty();
  filled_ = {};
}

void SlicedBlocks::PutAside(int64_t layer) {
  TORCH_CHECK(filled_.layer == layer, "layer ", layer, " is put aside, but layer ", filled_.layer, " was filled");
  aside_[layer] = std::move(filled_.wholes);
  Empty(layer);
  if (place_.size == 1) return;
  for (const auto& [part, whole] : aside_[layer]) SetMemory(whole, 0);
}

void SlicedBlocks::Restore(int64_t layer) {
  TORCH_CHECK(next_.layer < 0 || next_.layer == layer, "layer ", next_.layer, " was fetched ahead, but layer ", layer,
              " is restored");
  const Fetched fetched = next_.layer == layer ? std::exchange(next_, {}) : FetchAside(layer);
  if (overlaps_ && layer > 0 && !aside_[layer - 1].empty()) next_ = FetchAside(layer - 1);
  lane_->WaitFor(fetched.mark);
}

int64_t SlicedBlocks::Bytes() const {
  int64_t bytes = 0;
  for (const Parts& parts : layers_) {
    for (const auto& [part, sliced] : parts) bytes += static_cast<int64_t>(sliced->slice().nbytes());
  }
  return bytes;
}

LentBlock FrozenLender::Lend(int64_t layer, const std::vector<at::Tensor>&, Pass pass) {
  slices_.Fill(layer, {BlockPart::kSharedHeads, BlockPart::kAttention, BlockPart::kRest}, {}, pass);
  return {.block = blocks_[layer]};
}

void FrozenLender::TakeBack(int64_t layer, std::vector<at::Tensor>) { slices_.Empty(layer); }

}  // namespace regroup
