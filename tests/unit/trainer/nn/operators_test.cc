// Counts the operators that a layer takes in a training step: each is a launch on a GPU, and a pass over memory.
//
// An operator counts if it calls no other and is not a view. The count of a layer is the difference of models of two
// and of one layer.
#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string_view>
#include <vector>

#include "tests/unit/trainer/fixtures/slow_transformer.h"
#include "trainer/nn/window_runner.h"

namespace regroup {
namespace {

/// Operators that compute and copy nothing.
const std::set<std::string_view> kViews = {
    "aten::view",      "aten::transpose",    "aten::t",           "aten::expand",        "aten::narrow",
    "aten::slice",     "aten::select",       "aten::unsqueeze",   "aten::squeeze",       "aten::reshape",
    "aten::unflatten", "aten::flatten",      "aten::as_strided",  "aten::permute",       "aten::chunk",
    "aten::split",     "aten::detach",       "aten::alias",       "aten::_unsafe_view",  "aten::_reshape_alias",
    "aten::expand_as", "aten::empty",        "aten::empty_like",  "aten::empty_strided", "aten::resize_",
    "aten::to",        "aten::resolve_conj", "aten::resolve_neg", "aten::result_type"};

/// Counts the operators that this thread calls while it exists.
class Operators {
 public:
  Operators() {
    current = this;
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&Begin, &End).scopes({at::RecordScope::FUNCTION}));
  }
  ~Operators() {
    at::removeCallback(handle_);
    current = nullptr;
  }
  int count() const { return count_; }

 private:
  struct Call : at::ObserverContext {
    /// True if a counted operator ran inside.
    bool has_inner = false;
  };
  static std::unique_ptr<at::ObserverContext> Begin(const at::RecordFunction&) {
    auto call = std::make_unique<Call>();
    current->open_.push_back(call.get());
    return call;
  }
  static void End(const at::RecordFunction& function, at::ObserverContext* context) {
    current->open_.pop_back();
    const std::string_view name = function.name();
    const bool has_inner = static_cast<Call*>(context)->has_inner;
    const bool counts = !has_inner && name.starts_with("aten::") && !kViews.contains(name);
    if (counts) ++current->count_;
    if ((counts || has_inner) && !current->open_.empty()) current->open_.back()->has_inner = true;
  }

  static thread_local Operators* current;
  at::CallbackHandle handle_;
  std::vector<Call*> open_;
  int count_ = 0;
};

thread_local Operators* Operators::current = nullptr;

struct Counts {
  int forward = 0, backward = 0;
};

Counts CountOf(int64_t layers) {
  ModelConfig config = SmallConfig(2);
  config.layers = layers;
  Model model = RandomModel(config, /*with_biases=*/false, 3);
  VisitParameters(model, [](const std::string&, at::Tensor& tensor) {
    if (tensor.defined()) tensor.set_requires_grad(true);
  });
  const at::Tensor tokens = at::zeros({2, 6}, at::kLong);
  Counts counts;
  at::Tensor loss;
  {
    const Operators operators;
    loss = RunHiddenStates(model, tokens).sum();
    counts.forward = operators.count();
  }
  const Operators operators;
  loss.backward();
  counts.backward = operators.count();
  return counts;
}

TEST(OperatorsTest, ALayerOfALlamaTakesFew) {
  // Seven products forward and fourteen backward are among them. Without operators of our own for norms and rotations
  // there would be 43 and 80.
  const Counts one = CountOf(1), two = CountOf(2);
  EXPECT_LE(two.forward - one.forward, 14);
  EXPECT_LE(two.backward - one.backward, 35);
}

}  // namespace
}  // namespace regroup
