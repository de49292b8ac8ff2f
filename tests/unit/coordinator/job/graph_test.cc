#include "coordinator/job/graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "coordinator/job/arm_name.h"
#include "tests/unit/coordinator/builders.h"

namespace regroup {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

std::vector<std::string> Ids(const Graph& graph) {
  std::vector<std::string> ids;
  for (const TaskNode& task : graph.tasks) ids.push_back(task.id);
  return ids;
}

std::vector<std::string> NeedsOf(const Graph& graph, const std::string& id) {
  for (size_t task = 0; task < graph.tasks.size(); ++task) {
    if (graph.tasks[task].id != id) continue;
    std::vector<std::string> needs;
    for (const size_t need : graph.NeedsOf(task)) needs.push_back(graph.tasks[need].id);
    return needs;
  }
  ADD_FAILURE() << "no task " << id;
  return {};
}

const TaskNode& Node(const Graph& graph, const std::string& id) {
  for (const TaskNode& task : graph.tasks) {
    if (task.id == id) return task;
  }
  throw std::out_of_range(id);
}

Graph GraphOf(const v1::JobSpec& spec, const v1::ModelSummary& model = SmallModel()) {
  return BuildGraph(ResolveJobSpec(spec), model).value();
}

TEST(Graph, HasOnlyInspectBeforeTheModelIsKnown) {
  EXPECT_THAT(Ids(GraphBeforeInspect(ResolveJobSpec(SmallSpec()))), ElementsAre("inspect"));
}

TEST(Graph, WithAddressesFetchesFirstAndUploadsLast) {
  v1::JobSpec spec = SmallSpec();
  spec.mutable_source()->set_checkpoint("hf://org/model");
  EXPECT_THAT(Ids(GraphBeforeInspect(ResolveJobSpec(spec))), ElementsAre("fetch", "inspect"));
  EXPECT_THAT(NeedsOf(GraphOf(spec), "fetch"), IsEmpty());
  EXPECT_THAT(NeedsOf(GraphOf(spec), "inspect"), ElementsAre("fetch"));
  EXPECT_THAT(Ids(GraphOf(spec)), Not(Contains("upload")));
  spec.mutable_output()->set_also("s3://bucket/model");
  EXPECT_EQ(Ids(GraphOf(spec)).back(), "upload");
  EXPECT_THAT(NeedsOf(GraphOf(spec), "upload"), ElementsAre("report"));
  EXPECT_EQ(Node(GraphOf(spec), "upload").kind, v1::TASK_KIND_UPLOAD);
}

TEST(Graph, ChecksABucketBeforeTheWorkForIt) {
  v1::JobSpec spec = SmallSpec();
  spec.mutable_output()->set_checkpoint("s3://bucket/model");
  EXPECT_THAT(Ids(GraphBeforeInspect(ResolveJobSpec(spec))), ElementsAre("fetch", "inspect"));
  EXPECT_EQ(Ids(GraphOf(spec)).back(), "upload");
}

TEST(Graph, OfAConversionRunsEachStageAfterWhatItNeeds) {
  const Graph graph = GraphOf(SmallSpec());
  EXPECT_THAT(Ids(graph),
              ElementsAre("inspect", "calibrate", "align-000", "align-001", "finetune", "export", "evaluate-source",
                          "evaluate-averaged", "evaluate-aligned", "evaluate-result", "report"));
  EXPECT_THAT(NeedsOf(graph, "calibrate"), ElementsAre("inspect"));
  EXPECT_THAT(NeedsOf(graph, "align-001"), ElementsAre("calibrate"));
  EXPECT_THAT(NeedsOf(graph, "finetune"), ElementsAre("align-000", "align-001"));
  EXPECT_THAT(NeedsOf(graph, "export"), ElementsAre("finetune"));
  EXPECT_THAT(NeedsOf(graph, "evaluate-source"), ElementsAre("inspect"));
  EXPECT_THAT(NeedsOf(graph, "evaluate-averaged"), ElementsAre("inspect"));
  EXPECT_THAT(NeedsOf(graph, "evaluate-aligned"), ElementsAre("align-000", "align-001"));
  EXPECT_THAT(NeedsOf(graph, "evaluate-result"), ElementsAre("export"));
  EXPECT_THAT(NeedsOf(graph, "report"),
              ElementsAre("export", "evaluate-source", "evaluate-averaged", "evaluate-aligned", "evaluate-result"));
}

TEST(Graph, RefinesBetweenAligningAndTraining) {
  v1::JobSpec spec = SmallSpec();
  spec.mutable_refine()->set_outputs(true);
  const Graph graph = GraphOf(spec);
  EXPECT_THAT(NeedsOf(graph, "refine"), ElementsAre("align-000", "align-001"));
  EXPECT_THAT(NeedsOf(graph, "finetune"), ElementsAre("refine"));
  EXPECT_THAT(NeedsOf(graph, "evaluate-aligned"), ElementsAre("refine"));
}

TEST(Graph, WithoutTrainingExportsTheAlignedModel) {
  v1::JobSpec spec = SmallSpec();
  spec.mutable_finetune()->set_method("none");
  EXPECT_THAT(Ids(GraphOf(spec)), ElementsAre("inspect", "calibrate", "align-000", "align-001", "export",
                                              "evaluate-source", "evaluate-averaged", "evaluate-result", "report"));
}

TEST(Graph, OfAPlainAverageDoesNotMeasureItTwice) {
  v1::JobSpec spec = SmallSpec();
  spec.mutable_finetune()->set_method("none");
  spec.mutable_alignment()->set_method("none");
  EXPECT_THAT(Ids(GraphOf(spec)), Not(Contains("evaluate-averaged")));
}

TEST(Graph, ThatMergesNoHeadsHasNothingToTrainOrCompare) {
  v1::JobSpec spec = SmallSpec();
  spec.mutable_target()->set_kv_heads(8);
  spec.mutable_layerwise()->set_method("distill");
  spec.mutable_refine()->set_outputs(true);
  EXPECT_THAT(Ids(GraphOf(spec)), ElementsAre("inspect", "calibrate", "align-000", "align-001", "export",
                                              "evaluate-source", "evaluate-result", "report"));
}

TEST(Graph, WithoutEvaluationReportsAfterTheExport) {
  v1::JobSpec spec = SmallSpec();
  spec.clear_evaluation();
  const Graph graph = GraphOf(spec);
  EXPECT_THAT(Ids(graph),
              ElementsAre("inspect", "calibrate", "align-000", "align-001", "finetune", "export", "report"));
  EXPECT_THAT(NeedsOf(graph, "report"), ElementsAre("export"));
}

v1::JobSpec LayerwiseSpec() {
  v1::JobSpec spec = SmallSpec();
  spec.mutable_layerwise()->set_method("distill");
  return spec;
}

TEST(Graph, DistillsLayersBetweenAligningAndTraining) {
  const Graph graph = GraphOf(LayerwiseSpec());
  EXPECT_THAT(Ids(graph), ElementsAre("inspect", "calibrate", "align-000", "align-001", "record", "layerwise-000",
                                      "layerwise-001", "finetune", "export", "evaluate-source", "evaluate-averaged",
                                      "evaluate-aligned", "evaluate-layerwise", "evaluate-result", "report"));
  EXPECT_THAT(NeedsOf(graph, "record"), ElementsAre("inspect"));
  EXPECT_THAT(NeedsOf(graph, "layerwise-000"), ElementsAre("align-000", "align-001", "record"));
  EXPECT_THAT(NeedsOf(graph, "layerwise-001"), ElementsAre("align-000", "align-001", "record"));
  EXPECT_THAT(NeedsOf(graph, "finetune"), ElementsAre("layerwise-000", "layerwise-001"));
  EXPECT_THAT(NeedsOf(graph, "export"), ElementsAre("finetune"));
}

TEST(Graph, NamesKindsRolesAndArmsOfTheTasksThatDistillLayers) {
  const Graph graph = GraphOf(LayerwiseSpec());
  EXPECT_EQ(Node(graph, "record").kind, v1::TASK_KIND_RECORD);
  EXPECT_EQ(Node(graph, "record").role, "record");
  EXPECT_EQ(Node(graph, "record").layer, -1);
  EXPECT_EQ(Node(graph, "record").layers, 0);
  EXPECT_THAT(Node(graph, "record").arms, IsEmpty());
  EXPECT_EQ(Node(graph, "layerwise-001").kind, v1::TASK_KIND_LAYERWISE);
  EXPECT_EQ(Node(graph, "layerwise-001").role, "layerwise/1");
  EXPECT_THAT(Node(graph, "layerwise-001").arms, ElementsAre(0));
  EXPECT_EQ(Node(graph, "evaluate-layerwise").subject, "layerwise");
  EXPECT_EQ(Node(graph, "evaluate-layerwise").role, "evaluate/layerwise");
}

TEST(Graph, GivesEachLayerwiseTaskABlockOfLayersTheLastTheRest) {
  v1::JobSpec spec = LayerwiseSpec();
  spec.mutable_layerwise()->set_layers_per_task(3);
  const Graph graph = GraphOf(spec, SmallModel(8));
  std::vector<std::tuple<std::string, int, int>> blocks;
  for (const TaskNode& task : graph.tasks) {
    if (task.kind == v1::TASK_KIND_LAYERWISE) blocks.emplace_back(task.id, task.layer, task.layers);
  }
  EXPECT_THAT(blocks, ElementsAre(std::tuple("layerwise-000", 0, 3), std::tuple("layerwise-003", 3, 3),
                                  std::tuple("layerwise-006", 6, 2)));
  EXPECT_EQ(Node(graph, "layerwise-006").role, "layerwise/6");
  EXPECT_EQ(Node(graph, "align-007").layers, 1);
  EXPECT_EQ(Node(graph, "finetune").layers, 0);
}

TEST(Graph, MakesAtMostEightLayerwiseTasksUnlessToldOtherwise) {
  const Graph graph = GraphOf(LayerwiseSpec(), SmallModel(33));
  EXPECT_THAT(NeedsOf(graph, "finetune"),
              ElementsAre("layerwise-000", "layerwise-005", "layerwise-010", "layerwise-015", "layerwise-020",
                          "layerwise-025", "layerwise-030"));
  EXPECT_EQ(Node(graph, "layerwise-030").layers, 3);
  v1::JobSpec whole = LayerwiseSpec();
  whole.mutable_layerwise()->set_layers_per_task(100);
  EXPECT_EQ(Node(GraphOf(whole, SmallModel(33)), "layerwise-000").layers, 33);
}

TEST(Graph, RefinesAfterDistillingLayers) {
  v1::JobSpec spec = LayerwiseSpec();
  spec.mutable_refine()->set_outputs(true);
  const Graph graph = GraphOf(spec);
  EXPECT_THAT(NeedsOf(graph, "refine"), ElementsAre("layerwise-000", "layerwise-001"));
  EXPECT_THAT(NeedsOf(graph, "finetune"), ElementsAre("refine"));
  EXPECT_THAT(NeedsOf(graph, "evaluate-aligned"), ElementsAre("align-000", "align-001"));
  EXPECT_THAT(NeedsOf(graph, "evaluate-layerwise"), ElementsAre("refine"));
}

TEST(Graph, MeasuresTheModelBeforeEachKindOfTraining) {
  const Graph both = GraphOf(LayerwiseSpec());
  EXPECT_THAT(NeedsOf(both, "evaluate-aligned"), ElementsAre("align-000", "align-001"));
  EXPECT_THAT(NeedsOf(both, "evaluate-layerwise"), ElementsAre("layerwise-000", "layerwise-001"));
  EXPECT_THAT(NeedsOf(both, "report"), ElementsAre("export", "evaluate-source", "evaluate-averaged", "evaluate-aligned",
                                                   "evaluate-layerwise", "evaluate-result"));
  v1::JobSpec spec = LayerwiseSpec();
  spec.mutable_finetune()->set_method("none");
  const Graph layers = GraphOf(spec);
  EXPECT_THAT(NeedsOf(layers, "evaluate-aligned"), ElementsAre("align-000", "align-001"));
  EXPECT_THAT(Ids(layers), Not(Contains("evaluate-layerwise"))) << "evaluate-result measures that model";
  EXPECT_THAT(NeedsOf(layers, "export"), ElementsAre("layerwise-000", "layerwise-001"));
}

TEST(Graph, ComparesAnAverageWhoseLayersAreDistilledWithTheAverage) {
  v1::JobSpec spec = LayerwiseSpec();
  spec.mutable_alignment()->set_method("none");
  spec.mutable_finetune()->set_method("none");
  EXPECT_THAT(Ids(GraphOf(spec)), Contains("evaluate-averaged"));
}

TEST(Graph, RecordsWithTheRanksOfCalibrationAndTrainsBlocksOnOne) {
  v1::JobSpec spec = LayerwiseSpec();
  spec.mutable_calibration()->set_ranks(2);
  spec.mutable_finetune()->set_ranks(4);
  const Graph graph = GraphOf(spec);
  EXPECT_EQ(Node(graph, "record").ranks, 2);
  EXPECT_EQ(Node(graph, "layerwise-000").ranks, 1);
}

TEST(Graph, OfAJobOfAReleaseWithoutLayerwiseHasNoTasksOfIt) {
  v1::JobSpec spec = SmallSpec();
  spec.set_recipe("best");
  v1::JobSpec resolved = ResolveJobSpec(spec);
  resolved.clear_layerwise();
  const v1::ModelSummary model = SmallModel();
  EXPECT_THAT(Ids(BuildGraph(resolved, model).value()), Not(Contains(AnyOf("record", StartsWith("layerwise")))));
}

TEST(Graph, GivesGangsTheRanksOfTheJobFile) {
  v1::JobSpec spec = SmallSpec();
  spec.mutable_calibration()->set_ranks(2);
  spec.mutable_finetune()->set_ranks(4);
  const Graph graph = GraphOf(spec);
  EXPECT_EQ(Node(graph, "calibrate").ranks, 2);
  EXPECT_EQ(Node(graph, "finetune").ranks, 4);
  EXPECT_EQ(Node(graph, "align-000").ranks, 1);
}

TEST(Graph, NumbersLayersWithThreeDigits) {
  const Graph graph = GraphOf(SmallSpec(), SmallModel(33));
  EXPECT_EQ(Node(graph, "align-032").layer, 32);
  EXPECT_EQ(Node(graph, "align-032").role, "align/32");
}

v1::JobSpec SweepSpec() {
  v1::JobSpec spec = SmallSpec();
  spec.clear_output();
  spec.clear_target();
  spec.mutable_sweep()->add_kv_heads(4);
  spec.mutable_sweep()->add_kv_heads(2);
  spec.mutable_sweep()->add_alignment("procrustes");
  spec.mutable_sweep()->add_finetune("none");
  spec.mutable_sweep()->add_finetune("l0");
  return spec;
}

TEST(SweepGraph, SharesWhatIsEqualBetweenArmsAndPublishesNothing) {
  const Graph graph = GraphOf(SweepSpec(), SmallModel(1));
  EXPECT_THAT(Ids(graph), ElementsAre("inspect", "calibrate", "align-k4-procrustes-000", "align-k2-procrustes-000",
                                      "finetune-k4-procrustes-l0", "finetune-k2-procrustes-l0", "evaluate-source",
                                      "evaluate-k4-procrustes-none", "evaluate-k4-procrustes-l0",
                                      "evaluate-k2-procrustes-none", "evaluate-k2-procrustes-l0", "report"));
  EXPECT_THAT(Node(graph, "align-k4-procrustes-000").arms, ElementsAre(0, 1));
  EXPECT_THAT(Node(graph, "finetune-k2-procrustes-l0").arms, ElementsAre(3));
  EXPECT_THAT(Node(graph, "calibrate").arms, IsEmpty());
  EXPECT_THAT(NeedsOf(graph, "evaluate-k4-procrustes-none"), ElementsAre("align-k4-procrustes-000"));
  EXPECT_THAT(NeedsOf(graph, "evaluate-k4-procrustes-l0"), ElementsAre("finetune-k4-procrustes-l0"));
}

TEST(SweepGraph, CountsArmsThatMergeNothingOnce) {
  v1::JobSpec spec = SweepSpec();
  spec.mutable_sweep()->set_kv_heads(0, 8);
  const Graph graph = GraphOf(spec, SmallModel(1));
  ASSERT_EQ(graph.arms.size(), 3u);
  EXPECT_EQ(ArmName(graph.arms[0]), "k8-procrustes-none");
  EXPECT_EQ(ArmName(graph.arms[1]), "k2-procrustes-none");
  EXPECT_EQ(graph.arms[2].index(), 2);
}

TEST(SweepGraph, TellsRefinedArmsApart) {
  v1::JobSpec spec = SweepSpec();
  spec.mutable_sweep()->mutable_kv_heads()->RemoveLast();
  spec.mutable_sweep()->add_refine(false);
  spec.mutable_sweep()->add_refine(true);
  const Graph graph = GraphOf(spec, SmallModel(1));
  EXPECT_THAT(NeedsOf(graph, "finetune-k4-procrustes-l0"), ElementsAre("align-k4-procrustes-000"));
  EXPECT_THAT(NeedsOf(graph, "finetune-k4-procrustes-refined-l0"), ElementsAre("refine-k4-procrustes"));
  EXPECT_THAT(Node(graph, "refine-k4-procrustes").arms, ElementsAre(2, 3));
}

TEST(SweepGraph, SharesRecordsAndDistilledLayersBetweenArmsThatDifferInWhatFollows) {
  v1::JobSpec spec = SweepSpec();
  spec.mutable_layerwise()->set_method("distill");
  const Graph graph = GraphOf(spec, SmallModel(1));
  EXPECT_THAT(Ids(graph), ElementsAre("inspect", "calibrate", "align-k4-procrustes-000", "align-k2-procrustes-000",
                                      "record", "layerwise-k4-procrustes-000", "layerwise-k2-procrustes-000",
                                      "finetune-k4-procrustes-layerwise-l0", "finetune-k2-procrustes-layerwise-l0",
                                      "evaluate-source", "evaluate-k4-procrustes-layerwise-none",
                                      "evaluate-k4-procrustes-layerwise-l0", "evaluate-k2-procrustes-layerwise-none",
                                      "evaluate-k2-procrustes-layerwise-l0", "report"));
  EXPECT_THAT(Node(graph, "record").arms, IsEmpty());
  EXPECT_THAT(Node(graph, "layerwise-k4-procrustes-000").arms, ElementsAre(0, 1));
  EXPECT_THAT(Node(graph, "layerwise-k2-procrustes-000").arms, ElementsAre(2, 3));
  EXPECT_THAT(NeedsOf(graph, "layerwise-k2-procrustes-000"), ElementsAre("align-k2-procrustes-000", "record"));
  EXPECT_THAT(NeedsOf(graph, "evaluate-k2-procrustes-layerwise-none"), ElementsAre("layerwise-k2-procrustes-000"));
  EXPECT_THAT(NeedsOf(graph, "finetune-k2-procrustes-layerwise-l0"), ElementsAre("layerwise-k2-procrustes-000"));
}

TEST(SweepGraph, TellsArmsWithAndWithoutDistilledLayersApart) {
  v1::JobSpec spec = SweepSpec();
  spec.mutable_sweep()->mutable_kv_heads()->RemoveLast();
  for (const char* method : {"none", "distill"}) spec.mutable_sweep()->add_layerwise(method);
  for (const bool refines : {false, true}) spec.mutable_sweep()->add_refine(refines);
  const Graph graph = GraphOf(spec, SmallModel(1));
  ASSERT_EQ(graph.arms.size(), 8u);
  EXPECT_EQ(ArmName(graph.arms[7]), "k4-procrustes-layerwise-refined-l0");
  EXPECT_THAT(Node(graph, "align-k4-procrustes-000").arms, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(Node(graph, "layerwise-k4-procrustes-000").arms, ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(Node(graph, "refine-k4-procrustes").arms, ElementsAre(2, 3));
  EXPECT_THAT(Node(graph, "refine-k4-procrustes-layerwise").arms, ElementsAre(6, 7));
  EXPECT_THAT(NeedsOf(graph, "refine-k4-procrustes"), ElementsAre("align-k4-procrustes-000"));
  EXPECT_THAT(NeedsOf(graph, "refine-k4-procrustes-layerwise"), ElementsAre("layerwise-k4-procrustes-000"));
  EXPECT_THAT(NeedsOf(graph, "finetune-k4-procrustes-l0"), ElementsAre("align-k4-procrustes-000"));
  EXPECT_THAT(NeedsOf(graph, "finetune-k4-procrustes-layerwise-refined-l0"),
              ElementsAre("refine-k4-procrustes-layerwise"));
}

TEST(SweepGraph, RecordsNothingWhereNoArmThatMergesHeadsDistillsLayers) {
  v1::JobSpec spec = SweepSpec();
  spec.mutable_layerwise()->set_method("distill");
  spec.mutable_sweep()->mutable_kv_heads()->Clear();
  spec.mutable_sweep()->add_kv_heads(8);
  EXPECT_THAT(Ids(GraphOf(spec, SmallModel(1))), Not(Contains(AnyOf("record", StartsWith("layerwise")))));
}

TEST(Graph, AncestorsAreEverythingATaskBuildsOn) {
  const Graph graph = GraphOf(SmallSpec());
  std::vector<std::string> names;
  for (const size_t task : graph.AncestorsOf(4)) names.push_back(graph.tasks[task].id);
  EXPECT_THAT(names, ElementsAre("inspect", "calibrate", "align-000", "align-001"));
}

// How large a graph may become.

size_t Entries(const Graph& graph) {
  size_t entries = 0;
  for (const std::vector<size_t>& list : graph.needs) entries += list.size();
  return entries;
}

std::string WhyTooLarge(const v1::JobSpec& spec, const v1::ModelSummary& model) {
  const absl::Status status = BuildGraph(ResolveJobSpec(spec), model).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(GraphSize, GrowsWithTheTasksAlsoWhereEachWaitsForManyOthers) {
  v1::JobSpec spec = LayerwiseSpec();
  spec.mutable_layerwise()->set_layers_per_task(1);
  const Graph graph = GraphOf(spec, SmallModel(kMostLayers));
  ASSERT_GT(graph.tasks.size(), static_cast<size_t>(2 * kMostLayers));
  EXPECT_LT(Entries(graph), 4 * graph.tasks.size());
  EXPECT_EQ(NeedsOf(graph, "layerwise-4095").size(), static_cast<size_t>(kMostLayers) + 1);

  v1::JobSpec sweep = SweepSpec();
  sweep.mutable_layerwise()->set_layers_per_task(1);
  for (const char* method : {"none", "distill"}) sweep.mutable_sweep()->add_layerwise(method);
  for (const bool refines : {false, true}) sweep.mutable_sweep()->add_refine(refines);
  const Graph arms = GraphOf(sweep, SmallModel(100));
  EXPECT_LT(Entries(arms), 4 * arms.tasks.size());
}

TEST(GraphSize, IsBoundedHoweverManyLayersAModelClaims) {
  for (const int layers : {kMostLayers + 1, 10'000, std::numeric_limits<int>::max()}) {
    const std::string why = WhyTooLarge(SmallSpec(), SmallModel(layers));
    EXPECT_THAT(why, HasSubstr("source.checkpoint has " + std::to_string(layers) + " attention layers"));
    EXPECT_THAT(why, HasSubstr("at most 4096"));
  }
}

TEST(GraphSize, IsBoundedInTasks) {
  v1::JobSpec spec = SmallSpec();
  spec.clear_target();
  spec.clear_output();
  for (const int heads : {1, 2, 4}) spec.mutable_sweep()->add_kv_heads(heads);
  EXPECT_TRUE(BuildGraph(ResolveJobSpec(spec), SmallModel(3000)).ok());
  EXPECT_THAT(WhyTooLarge(spec, SmallModel(4000)), AllOf(HasSubstr("for 4000 layers and 3 arms"), HasSubstr("sweep"),
                                                         HasSubstr("layerwise.layers_per_task")));
}

TEST(GraphSize, IsBoundedInTheResultsThatAReportReads) {
  v1::JobSpec spec = SmallSpec();
  spec.clear_output();
  for (int i = 0; i < 64; ++i) spec.mutable_sweep()->add_kv_heads(i + 1);
  for (const bool refines : {false, true}) spec.mutable_sweep()->add_refine(refines);
  for (const char* method : {"none", "lora"}) spec.mutable_sweep()->add_finetune(method);
  EXPECT_TRUE(BuildGraph(ResolveJobSpec(spec), SmallModel(126)).ok()) << "the deepest Llama in 256 arms";
  EXPECT_THAT(WhyTooLarge(spec, SmallModel(300)), HasSubstr("50000 counted for each arm"));
}

}  // namespace
}  // namespace regroup
