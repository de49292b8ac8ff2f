#include "trainer/nn/recompute.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "trainer/nn/detached_inputs.h"

namespace regroup {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

using Part = std::function<at::Tensor(const variable_list&)>;

/// The state of a part that autograd keeps between the two passes.
struct KeptPart : torch::CustomClassHolder {
  explicit KeptPart(Part part) : run(std::move(part)) {}
  Part run;
};

class RecomputeFunction : public torch::autograd::Function<RecomputeFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::TensorList inputs, const Part& part) {
    context->save_for_backward(inputs.vec());
    context->saved_data["part"] = c10::IValue::make_capsule(c10::make_intrusive<KeptPart>(part));
    return part(inputs.vec());
  }

  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    const auto kept = context->saved_data["part"].toCapsule();
    const DetachedInputs given(context->get_saved_variables());
    variable_list found;
    {
      at::AutoGradMode with_gradients(true);
      const at::Tensor again = static_cast<const KeptPart*>(kept.get())->run(given.inputs);
      found = torch::autograd::grad({again}, given.leaves, outputs, /*retain_graph=*/false, /*create_graph=*/false,
                                    /*allow_unused=*/true);
    }
    variable_list gradients = given.GradientsOf(found);
    gradients.emplace_back();  // For the part itself.
    return gradients;
  }
};

at::Tensor Run(const variable_list& inputs, const Part& part) {
  return at::GradMode::is_enabled() ? RecomputeFunction::apply(at::TensorList(inputs), part) : part(inputs);
}

/// Collects the defined tensors, and puts replacements into their slots in the same order.
class Slots {
 public:
  void Add(at::Tensor& slot) {
    if (slot.defined()) slots_.push_back(&slot);
  }
  variable_list Values() const {
    variable_list values;
    for (const at::Tensor* slot : slots_) values.push_back(*slot);
    return values;
  }
  void Fill(const variable_list& values) {
    for (size_t i = 0; i < slots_.size(); ++i) *slots_[i] = values[i];
  }

 private:
  std::vector<at::Tensor*> slots_;
};

/// A block with everything it reads, as one list of tensors.
struct WholeBlock {
  at::Tensor x, memory, bias;
  Block block;

  Slots AllSlots() {
    Slots slots;
    for (at::Tensor* tensor : {&x, &memory, &bias}) slots.Add(*tensor);
    VisitBlock(block, 0, [&](const std::string&, at::Tensor& tensor) { slots.Add(tensor); });
    return slots;
  }
};

}  // namespace

at::Tensor RunFeedForwardRecomputed(const at::Tensor& x_BTD, const FeedForward& weights, const ModelConfig& config) {
  const auto slots_of = [](FeedForward& maps, at::Tensor& x) {
    Slots slots;
    slots.Add(x);
    VisitFeedForward(maps, "", [&](const std::string&, at::Tensor& tensor) { slots.Add(tensor); });
    return slots;
  };
  FeedForward own = weights;
  at::Tensor x = x_BTD;
  return Run(slots_of(own, x).Values(), [own, config, slots_of](const variable_list& inputs) {
    FeedForward maps = own;
    at::Tensor input = inputs.front();
    slots_of(maps, input).Fill(inputs);
    return RunFeedForward(input, maps, config);
  });
}

at::Tensor RunBlockRecomputed(const at::Tensor& x_BTD, const Block& block, const ModelConfig& config,
                              const BlockContext& context) {
  WholeBlock whole{x_BTD, context.memory, context.positions.bias, block};
  const variable_list inputs = whole.AllSlots().Values();
  // Shared by all copies of the part; the forward pass takes it.
  const auto observer = std::make_shared<std::function<void(const AttentionRows&)>>(context.observer);
  const PositionTables positions = context.positions;
  return Run(inputs, [whole, config, positions, observer](const variable_list& given) {
    WholeBlock own = whole;
    own.AllSlots().Fill(given);
    PositionTables tables = positions;
    tables.bias = own.bias;
    const auto seen = std::exchange(*observer, {});
    return RunBlock(own.x, own.block, config, {.positions = tables, .memory = own.memory, .observer = seen});
  });
}

}  // namespace regroup
