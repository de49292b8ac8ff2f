#include "trainer/layerwise/source_pass.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "tests/unit/trainer/fixtures/family_folder.h"
#include "tests/unit/trainer/fixtures/letter_windows.h"
#include "trainer/nn/windows_at_once.h"

namespace regroup {
namespace {

constexpr int64_t kLength = 8;
/// Largest relative distance of a number from the bfloat16 next to it.
constexpr double kRounding = 1.0 / 256;

/// A source of one family, its pass, and windows of text.
class SourcePassTest : public testing::TestWithParam<const char*> {
 protected:
  /// Layers this small take longer to hand out to threads than to compute.
  SourcePassTest() { at::set_num_threads(1); }

  void Open(std::string_view family, int64_t length = kLength) {
    length_ = length;
    WriteFamilyFolder(folder_.path() / "source", FamilyConfig(family), 7);
    const auto source = SourceModel::Open(folder_.path() / "source");
    ASSERT_TRUE(source.ok()) << source.status();
    source_ = *source;
    auto pass = SourcePass::Make(*source_, {.sequence_length = length, .tick = [this] { ++ticks_; }});
    ASSERT_TRUE(pass.ok()) << pass.status();
    pass_ = *std::move(pass);
    text_ = LetterWindows(folder_.path() / "text.jsonl", 130, length);
  }

  ResidualStreams Create(const char* name, int64_t tokens) const {
    return *ResidualStreams::Create(
        folder_.path() / name,
        {.windows = text_->windows(), .tokens = tokens, .hidden_size = source_->config().hidden_size});
  }
  std::vector<int64_t> All() const {
    std::vector<int64_t> all;
    for (int64_t window = 0; window < text_->windows(); ++window) all.push_back(window);
    return all;
  }
  at::Tensor Tokens() const {
    at::Tensor tokens = at::empty({text_->windows(), length_}, at::kLong);
    for (const int64_t window : All()) text_->Copy(window, tokens[window].mutable_data_ptr<int64_t>());
    return tokens;
  }
  at::Tensor ReadAll(const ResidualStreams& streams) const { return *streams.Read(All(), at::kFloat, at::kCPU); }

  /// Returns the streams before a layer.
  ResidualStreams Before(int64_t layer, const char* name) const {
    ResidualStreams streams = Create(name, length_);
    EXPECT_TRUE(pass_->Start(*text_, All(), streams).ok());
    for (int64_t earlier = 0; earlier < layer; ++earlier) {
      EXPECT_TRUE(pass_->Advance(*pass_->LoadBlock(earlier), earlier, streams, &streams).ok());
    }
    return streams;
  }
  /// Returns what the attention of a layer adds, as the pass stores it, without the streams behind the layer.
  at::Tensor Branch(int64_t layer, const ResidualStreams& before) const {
    ResidualStreams stored = Create("branch", pass_->BranchTokens(layer));
    SourcePass::Branches branches{.streams = &stored};
    EXPECT_TRUE(pass_->Advance(*pass_->LoadBlock(layer), layer, before, nullptr, &branches).ok());
    return ReadAll(stored);
  }

  TemporaryFolder folder_;
  int64_t length_ = 0;
  std::optional<SourceModel> source_;
  std::optional<SourcePass> pass_;
  std::optional<TokenWindows> text_;
  mutable int64_t ticks_ = 0;
};

TEST_P(SourcePassTest, CarriesTheStreamsThatTheWholeModelHas) {
  Open(GetParam());
  // More windows than pass through a layer together.
  ASSERT_GT(text_->windows(), WindowsAtOnce(kLength));
  const ResidualStreams streams = Before(source_->config().layers, "streams");
  const Model model = *source_->Load(at::kFloat, at::kCPU);
  const WindowRunner runner(model, kLength, at::kCPU);
  const at::Tensor ours = runner.Finish(ReadAll(streams)), expected = RunHiddenStates(model, Tokens());
  EXPECT_LT((ours - expected).norm().item<double>(), 4 * kRounding * expected.norm().item<double>());
  EXPECT_GT(ticks_, text_->windows());
}

TEST_P(SourcePassTest, AFileMayReplaceItself) {
  Open(GetParam());
  const ResidualStreams before = Before(1, "before");
  ResidualStreams after = Create("after", kLength);
  ASSERT_TRUE(pass_->Advance(*pass_->LoadBlock(1), 1, before, &after).ok());
  EXPECT_TRUE(at::equal(ReadAll(after), ReadAll(Before(2, "in place"))));
}

TEST_P(SourcePassTest, StoresTheSameBranchesWithAndWithoutTheStreamsBehindTheLayer) {
  Open(GetParam());
  for (int64_t layer = 0; layer < source_->config().layers; ++layer) {
    const ResidualStreams before = Before(layer, "before");
    ResidualStreams after = Create("after", kLength), stored = Create("stored", pass_->BranchTokens(layer));
    SourcePass::Branches branches{.streams = &stored};
    ASSERT_TRUE(pass_->Advance(*pass_->LoadBlock(layer), layer, before, &after, &branches).ok());
    EXPECT_TRUE(at::equal(ReadAll(stored), Branch(layer, before))) << layer;
    // The variance of the rounded branches, by its definition.
    const at::Tensor rows = ReadAll(stored).flatten(0, 1).to(at::kDouble);
    const double variance = (rows - rows.mean(0)).square().sum(1).mean().item<double>();
    EXPECT_NEAR(branches.moments.Variance(), variance, kRounding * variance) << layer;
    EXPECT_GT(variance, 1e-3) << layer;
  }
}

TEST_P(SourcePassTest, BranchesAreThePartThatTheAttentionAddsInTheWholeModel) {
  Open(GetParam());
  const Model model = *source_->Load(at::kFloat, at::kCPU);
  std::vector<at::Tensor> seen;
  RunHiddenStates(model, Tokens(),
                  {.branch_observer = [&](int64_t, const at::Tensor& branch) { seen.push_back(branch); }});
  ASSERT_EQ(static_cast<int64_t>(seen.size()), source_->config().layers);
  for (int64_t layer = 0; layer < source_->config().layers; ++layer) {
    const at::Tensor branch = Branch(layer, Before(layer, "before"));
    ASSERT_EQ(branch.sizes(), seen[layer].sizes()) << layer;
    EXPECT_LT((branch - seen[layer]).norm().item<double>(), 3 * kRounding * seen[layer].norm().item<double>()) << layer;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, SourcePassTest,
                         testing::Values("llama", "llama-grouped", "mistral", "qwen3", "olmo2", "gpt2", "gpt_neox",
                                         "bloom", "t5", "bart"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase_if(name, [](char letter) { return letter == '-' || letter == '_'; });
                           return name;
                         });

using SourcePassBranchTest = SourcePassTest;

at::Tensor RmsNormed(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return x / (x.square().mean(-1, true) + epsilon).sqrt() * weight.to(at::kDouble);
}

/// Returns attention [T, heads x width] of projected rows in float64: head h reads KV head h / (heads / KV heads).
at::Tensor AttendRows(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, int64_t heads,
                      double scale, const at::Tensor& bias_HTS) {
  const int64_t width = query.size(1) / heads, shared = heads / (key.size(1) / width);
  std::vector<at::Tensor> results;
  for (int64_t head = 0; head < heads; ++head) {
    const auto part = [&](const at::Tensor& rows, int64_t index) { return rows.narrow(1, index * width, width); };
    at::Tensor logits = at::mm(part(query, head), part(key, head / shared).t()) * scale;
    if (bias_HTS.defined()) logits = logits + bias_HTS[head];
    results.push_back(at::mm(at::softmax(logits, -1), part(value, head / shared)));
  }
  return at::cat(results, 1);
}

at::Tensor HiddenLater(int64_t heads, int64_t tokens) {
  const at::Tensor later = at::ones({tokens, tokens}, at::kBool).triu(1);
  return at::zeros({heads, tokens, tokens}, at::kDouble).masked_fill(later, -std::numeric_limits<double>::infinity());
}

/// Rotates heads of width 6 at theta 100: entries t and t + 3 by the angle place x 100^(-t/3).
at::Tensor Rotated(const at::Tensor& rows) {
  at::Tensor result = rows.clone();
  for (int64_t place = 0; place < rows.size(0); ++place) {
    for (int64_t head = 0; head < rows.size(1) / 6; ++head) {
      for (int64_t t = 0; t < 3; ++t) {
        const double angle = static_cast<double>(place) * std::pow(100.0, -static_cast<double>(t) / 3.0);
        const double first = rows[place][6 * head + t].item<double>();
        const double second = rows[place][6 * head + t + 3].item<double>();
        result[place][6 * head + t] = first * std::cos(angle) - second * std::sin(angle);
        result[place][6 * head + t + 3] = second * std::cos(angle) + first * std::sin(angle);
      }
    }
  }
  return result;
}

at::Tensor Mapped(const at::Tensor& x, const Linear& linear) { return at::mm(x, linear.weight.to(at::kDouble).t()); }

TEST_F(SourcePassBranchTest, OfAGroupedLlamaAreThoseOfAForwardPassByHand) {
  Open("llama-grouped");
  const ResidualStreams before = Before(1, "before");
  const at::Tensor branches = Branch(1, before);
  const Block block = *pass_->LoadBlock(1);
  for (const int64_t window : {0, 200}) {
    const at::Tensor x = RmsNormed(ReadAll(before)[window].to(at::kDouble), block.attention_norm.weight, 1e-3);
    const at::Tensor attended =
        AttendRows(Rotated(Mapped(x, block.attention.query)), Rotated(Mapped(x, block.attention.key)),
                   Mapped(x, block.attention.value), 4, 1 / std::sqrt(6.0), HiddenLater(4, kLength));
    const at::Tensor expected = Mapped(attended, block.attention.output);
    EXPECT_LT((branches[window] - expected).abs().max().item<double>(), kRounding * expected.abs().max().item<double>())
        << window;
  }
}

TEST_F(SourcePassBranchTest, OfCrossAttentionAreThoseOfAForwardPassByHand) {
  Open("t5", 11);
  // Layer 0 is the encoder's; layers 1 and 3 are the decoder's own attention, 2 and 4 read the encoder's output.
  ASSERT_EQ(source_->config().Role(2), AttentionRole::kCross);
  EXPECT_EQ(pass_->BranchTokens(0), 5);
  EXPECT_EQ(pass_->BranchTokens(1), 6);
  EXPECT_EQ(pass_->BranchTokens(2), 6);
  const ResidualStreams before = Before(2, "before");
  const at::Tensor branches = Branch(2, before);
  const Block block = *pass_->LoadBlock(2);
  const at::Tensor stream = ReadAll(before)[3].to(at::kDouble);
  const at::Tensor memory = stream.narrow(0, 0, 5);
  const at::Tensor x = RmsNormed(stream.narrow(0, 5, 6), block.attention_norm.weight, 1e-6);
  const at::Tensor attended = AttendRows(Mapped(x, block.attention.query), Mapped(memory, block.attention.key),
                                         Mapped(memory, block.attention.value), 4, 1.0, {});
  const at::Tensor expected = Mapped(attended, block.attention.output);
  EXPECT_LT((branches[3] - expected).abs().max().item<double>(), kRounding * expected.abs().max().item<double>());
}

TEST_F(SourcePassBranchTest, WindowsGoToTheirPlacesInTheOrderGiven) {
  Open("llama");
  const ResidualStreams all = Before(0, "all");
  ResidualStreams some =
      *ResidualStreams::Create(folder_.path() / "some", {.windows = 2, .tokens = kLength, .hidden_size = 10});
  ASSERT_TRUE(pass_->Start(*text_, {9, 4}, some).ok());
  EXPECT_TRUE(at::equal(*some.Read({0, 1}, at::kFloat, at::kCPU), *all.Read({9, 4}, at::kFloat, at::kCPU)));
}

TEST_F(SourcePassBranchTest, APassWithoutEmbeddingsComputesTheSameLayers) {
  for (const char* family : {"gpt2", "t5"}) {
    Open(family);
    const ResidualStreams before = Before(1, "before");
    const auto bare = SourcePass::Make(*source_, {.sequence_length = kLength, .with_embeddings = false, .tick = [] {}});
    ASSERT_TRUE(bare.ok()) << bare.status();
    ResidualStreams after = Create("after", kLength);
    ASSERT_TRUE(bare->Advance(*bare->LoadBlock(1), 1, before, &after).ok());
    EXPECT_TRUE(at::equal(ReadAll(after), ReadAll(Before(2, "expected")))) << family;
  }
}

at::Tensor SomeRows() {
  at::manual_seed(6);
  return 0.3 * at::randn({4, 50, 7}) + at::arange(7);
}

TEST(BranchMomentsTest, GivesTheVarianceOfAllEntriesTogether) {
  const at::Tensor rows = SomeRows();
  BranchMoments moments;
  for (const at::Tensor& batch : rows.split(3)) moments.Add(batch);
  const at::Tensor wide = rows.flatten(0, 1).to(at::kDouble);
  EXPECT_NEAR(moments.Variance(), (wide - wide.mean(0)).square().sum(1).mean().item<double>(), 1e-9);
}

TEST(BranchMomentsTest, ABranchThatIsTheSameForEveryTokenHasNone) {
  EXPECT_EQ(BranchMoments().Variance(), 0);
  for (int tenths = 0; tenths < 40; ++tenths) {
    BranchMoments moments;
    const at::Tensor token = at::arange(5, at::kFloat) + 0.1 * tenths;
    for (int batch = 0; batch < 30; ++batch) moments.Add(token.expand({7, 11, 5}));
    EXPECT_EQ(moments.Variance(), 0) << tenths;
  }
}

TEST(BranchMomentsTest, OneNumberThatIsNotFiniteShows) {
  for (const double value : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    at::Tensor rows = SomeRows();
    rows[1][2][3] = value;
    BranchMoments moments;
    moments.Add(SomeRows());
    moments.Add(rows);
    moments.Add(SomeRows());
    EXPECT_FALSE(std::isfinite(moments.Variance())) << value;
  }
}

TEST(ForEachBatchTest, VisitsEveryNumberOnceUntilAnError) {
  std::vector<std::vector<int64_t>> seen;
  const auto keep = [&](const std::vector<int64_t>& batch) {
    seen.push_back(batch);
    return absl::OkStatus();
  };
  EXPECT_TRUE(ForEachBatch(5, 2, keep).ok());
  EXPECT_EQ(seen, (std::vector<std::vector<int64_t>>{{0, 1}, {2, 3}, {4}}));
  seen.clear();
  EXPECT_TRUE(ForEachBatch(0, 2, keep).ok());
  EXPECT_TRUE(seen.empty());
  const auto fail = [&](const std::vector<int64_t>& batch) {
    seen.push_back(batch);
    return absl::DataLossError("second");
  };
  EXPECT_EQ(ForEachBatch(5, 2, fail).message(), "second");
  EXPECT_EQ(seen.size(), 1U);
}

}  // namespace
}  // namespace regroup
