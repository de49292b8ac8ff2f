// The blocks of a model of which every rank keeps slices: fetches their weights for the passes through them (ZeRO
// stage 3).
//
// A layer's weights are in several parts, each the unit in which weights train, stay frozen, or equal those of another
// model. While a layer is computed the next one's weights are fetched on a lane beside it, if that runs beside it, so
// that at most two layers are whole. One thread at a time; every rank must make the same calls in the same order.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "trainer/nn/lent_block.h"
#include "trainer/nn/model.h"
#include "trainer/parallel/communicator.h"
#include "trainer/parallel/side_lane.h"
#include "trainer/parallel/sliced_tensors.h"

namespace regroup {

/// kOriginalHeads are those that gates remove, which are not part of a Model.
enum class BlockPart { kSharedHeads, kAttention, kRest, kOriginalHeads };

/// Returns the part to which a parameter of a block belongs.
BlockPart PartOfBlock(const std::string& parameter);

/// Returns the block's defined slots by part, each in the order of VisitBlock.
std::map<BlockPart, std::vector<at::Tensor*>> PartsOfBlock(Block& block);

class SlicedBlocks {
 public:
  SlicedBlocks(int64_t layers, GangPlace place) : layers_(layers), aside_(layers), place_(place) {}

  /// Takes over a part of a layer; see SlicedTensors.
  void Add(int64_t layer, BlockPart part, std::vector<at::Tensor*> slots);
  /// Takes over all parts of a block.
  void Add(int64_t layer, Block& block);

  /// Makes later calls use `communicator` on `lane`, which both must outlive it.
  void FetchOn(Communicator& communicator, SideLane& lane, bool overlaps);

  /// Returns null if the layer has no such part.
  SlicedTensors* Find(int64_t layer, BlockPart part) const;

  /// Fills the slots of these parts of a layer, which require gradients if they are among `trained`, and starts to
  /// fetch those of the next layer in this pass. A failure is returned by the lane's Finish.
  void Fill(int64_t layer, const std::vector<BlockPart>& parts, const std::vector<BlockPart>& trained, Pass pass);
  /// Empties all slots of the layer.
  void Empty(int64_t layer);
  /// Empties the slots of the layer that was filled last, whose tensors lose their memory but stay as they are for
  /// those who hold them. No other rank must hold slices.
  void PutAside(int64_t layer);
  /// Gives the tensors that were put aside memory and weights again until Forget, and starts to fetch those of the
  /// layer below that were.
  void Restore(int64_t layer);
  /// Releases what Restore fetched.
  void Forget(int64_t layer) { aside_[layer].clear(); }
  /// Returns the bytes of the slices on this rank.
  int64_t Bytes() const;
  /// Waits for all that was launched on the lane. Returns the first failure.
  absl::Status Finish() { return lane_->Finish(); }

 private:
  using Parts = std::map<BlockPart, std::unique_ptr<SlicedTensors>>;
  struct Fetched {
    int64_t layer = -1;
    std::vector<BlockPart> parts;
    std::map<BlockPart, at::Tensor> wholes;
    int64_t mark = 0;
  };

  Fetched Fetch(int64_t layer, const std::vector<BlockPart>& parts);
  /// Fetches what was put aside into the tensors that have no memory.
  Fetched FetchAside(int64_t layer);
  /// Fetches into `whole` on the lane.
  void LaunchGather(const SlicedTensors& sliced, at::Tensor whole);

  std::vector<Parts> layers_;
  /// By layer, the tensors that were put aside.
  std::vector<std::map<BlockPart, at::Tensor>> aside_;
  GangPlace place_;
  Communicator* communicator_ = nullptr;
  SideLane* lane_ = nullptr;
  bool overlaps_ = false;
  /// The layer that is fetched ahead, and the one that was filled last.
  Fetched next_, filled_;
};

/// Lends the blocks of a model that does not train.
class FrozenLender final : public BlockLender {
 public:
  /// `blocks` are the model's, of which `slices` has the weights; both must outlive it.
  FrozenLender(const std::vector<Block>& blocks, SlicedBlocks& slices) : blocks_(blocks), slices_(slices) {}

  std::vector<at::Tensor> InputsOf(int64_t) const override { return {}; }
  LentBlock Lend(int64_t layer, const std::vector<at::Tensor>& inputs, Pass pass) override;
  void TakeBack(int64_t layer, std::vector<at::Tensor> gradients) override;

 private:
  const std::vector<Block>& blocks_;
  SlicedBlocks& slices_;
};

}  // namespace regroup
