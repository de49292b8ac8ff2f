#include "trainer/nn/lent_block.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <utility>

#include "trainer/nn/detached_inputs.h"

namespace regroup {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A block's call, which autograd keeps between the two passes.
struct Borrower : torch::CustomClassHolder {
  BlockLender* lender = nullptr;
  int64_t layer = 0;
  ModelConfig config;
  PositionTables positions;
  bool has_memory = false, has_bias = false;
  bool recomputes_feed_forward = false;
  bool keeps_graph = false;

  /// Runs the block on {x, memory, bias, the lender's inputs...}, of which memory and bias may be left out.
  at::Tensor Run(const variable_list& inputs, const Block& block) const {
    PositionTables tables = positions;
    if (has_bias) tables.bias = inputs[has_memory ? 2 : 1];
    return RunBlock(inputs.front(), block, config,
                    {.positions = tables,
                     .memory = has_memory ? inputs[1] : at::Tensor(),
                     .recompute_feed_forward = recomputes_feed_forward});
  }
  LentBlock Borrow(const variable_list& inputs, Pass pass) const {
    const auto first = inputs.begin() + 1 + (has_memory ? 1 : 0) + (has_bias ? 1 : 0);
    return lender->Lend(layer, {first, inputs.end()}, pass);
  }
  at::Tensor RunForward(const variable_list& inputs) const {
    at::Tensor y = Run(inputs, Borrow(inputs, Pass::kForward).block);
    lender->TakeBack(layer, {});
    return y;
  }
};

/// The graph of a block, which ends at its inputs and weights.
struct KeptGraph : torch::CustomClassHolder {
  explicit KeptGraph(DetachedInputs inputs) : given(std::move(inputs)) {}
  DetachedInputs given;
  variable_list trained;
  at::Tensor output;
};

/// Returns the gradients of the inputs, and gives those of the weights to the lender.
variable_list Differentiate(const Borrower& borrower, const DetachedInputs& given, const variable_list& trained,
                            const at::Tensor& output, const variable_list& outputs) {
  variable_list wanted = given.leaves;
  wanted.insert(wanted.end(), trained.begin(), trained.end());
  const variable_list found = torch::autograd::grad({output}, wanted, outputs, /*retain_graph=*/false,
                                                    /*create_graph=*/false, /*allow_unused=*/true);
  const auto of_weights = found.begin() + static_cast<int64_t>(given.leaves.size());
  borrower.lender->TakeBack(borrower.layer, {of_weights, found.end()});
  variable_list gradients = given.GradientsOf(found);
  gradients.emplace_back();  // For the anchor.
  gradients.emplace_back();  // For the borrower.
  return gradients;
}

/// `anchor` is a tensor that requires gradients: without one, autograd would not call a block whose inputs do not.
class LentBlockFunction : public torch::autograd::Function<LentBlockFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::TensorList inputs, const at::Tensor& anchor,
                            const c10::intrusive_ptr<Borrower>& borrower) {
    (void)anchor;
    context->saved_data["borrower"] = c10::IValue::make_capsule(borrower);
    if (!borrower->keeps_graph) {
      context->save_for_backward(inputs.vec());
      return borrower->RunForward(inputs.vec());
    }
    auto kept = c10::make_intrusive<KeptGraph>(DetachedInputs(inputs.vec()));
    {
      at::AutoGradMode with_gradients(true);
      LentBlock lent = borrower->Borrow(kept->given.inputs, Pass::kForward);
      kept->output = borrower->Run(kept->given.inputs, lent.block);
      kept->trained = std::move(lent.trained);
    }
    borrower->lender->PutAside(borrower->layer);
    at::Tensor y = kept->output.detach();
    context->saved_data["graph"] = c10::IValue::make_capsule(std::move(kept));
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    const auto saved = context->saved_data["borrower"].toCapsule();
    const auto& borrower = *static_cast<const Borrower*>(saved.get());
    at::AutoGradMode with_gradients(true);
    if (borrower.keeps_graph) {
      const auto graph = context->saved_data["graph"].toCapsule();
      // Autograd keeps this node until the whole backward pass is over, and the graph refers to the weights.
      context->saved_data.erase("graph");
      const auto& kept = *static_cast<const KeptGraph*>(graph.get());
      borrower.lender->Restore(borrower.layer);
      return Differentiate(borrower, kept.given, kept.trained, kept.output, outputs);
    }
    const DetachedInputs given(context->get_saved_variables());
    const LentBlock lent = borrower.Borrow(given.inputs, Pass::kBackward);
    const at::Tensor again = borrower.Run(given.inputs, lent.block);
    return Differentiate(borrower, given, lent.trained, again, outputs);
  }
};

}  // namespace

void BlockLender::PutAside(int64_t layer) {
  TORCH_CHECK(false, "the weights of layer ", layer, " cannot be put aside");
}

void BlockLender::Restore(int64_t layer) { TORCH_CHECK(false, "no weights of layer ", layer, " were put aside"); }

at::Tensor RunLentBlock(const at::Tensor& x_BTD, BlockLender& lender, int64_t layer, const ModelConfig& config,
                        const BlockContext& context, bool keeps_graph) {
  auto borrower = c10::make_intrusive<Borrower>();
  borrower->lender = &lender;
  borrower->layer = layer;
  borrower->config = config;
  borrower->positions = context.positions;
  borrower->has_memory = context.memory.defined();
  borrower->has_bias = context.positions.bias.defined();
  borrower->keeps_graph = keeps_graph && lender.CanPutAside();
  borrower->recomputes_feed_forward = borrower->keeps_graph && context.recompute_feed_forward;
  variable_list inputs = {x_BTD};
  if (borrower->has_memory) inputs.push_back(context.memory);
  if (borrower->has_bias) inputs.push_back(context.positions.bias);
  for (at::Tensor& input : lender.InputsOf(layer)) inputs.push_back(std::move(input));
  if (!at::GradMode::is_enabled()) return borrower->RunForward(inputs);
  const at::Tensor anchor = at::zeros({}, x_BTD.options()).set_requires_grad(true);
  return LentBlockFunction::apply(at::TensorList(inputs), anchor, borrower);
}

}  // namespace regroup
