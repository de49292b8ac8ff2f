// finetune: runs data-parallel distilled training of the merged model (direct), or of the aligned model whose gates
// close step by step (l0). See distill_trainer.h for the loop.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "services/common/base/attempt_files.h"
#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/arms.h"
#include "trainer/data/token_windows.h"
#include "trainer/model_folder/converted_folder.h"
#include "trainer/nn/sequence_attention.h"
#include "trainer/parallel/device.h"
#include "trainer/parallel/device_name.h"
#include "trainer/parallel/peak_flops.h"
#include "trainer/plan/describe.h"
#include "trainer/plan/plan_estimate.h"
#include "trainer/plan/settings.h"
#include "trainer/plan/training_memory.h"
#include "trainer/stages/artifacts.h"
#include "trainer/stages/job_source.h"
#include "trainer/stages/job_text.h"
#include "trainer/stages/load_conversion.h"
#include "trainer/stages/recorded_curves.h"
#include "trainer/stages/stage.h"
#include "trainer/stages/training_event_files.h"
#include "trainer/training/distill_trainer.h"
#include "trainer/training/student_lender.h"
#include "trainer/training/teacher.h"
#include "trainer/training/training_checkpoint.h"

namespace regroup {
namespace {

/// Returns the checkpoint folders of this task's earlier attempts and of this one.
std::vector<std::filesystem::path> CheckpointFolders(const StageContext& context) {
  std::vector<std::filesystem::path> folders;
  for (int64_t epoch = 1; epoch <= context.assignment.attempt().epoch(); ++epoch) {
    folders.push_back(context.attempt_folder.parent_path() / std::to_string(epoch) /
                      attempt_files::kTrainingCheckpoints);
  }
  return folders;
}

std::optional<double> PeakOfAll(const StageContext& context, at::ScalarType type) {
  std::optional<double> peak = PeakFlopsPerSecond(DeviceName(context.device), type);
  if (peak.has_value()) *peak *= context.communicator.size();
  return peak;
}

/// `allowance` is that of CheckGpuTrainingMemory.
absl::Status CheckMemory(const StageContext& context, const SourceModel& source, const PlannedTraining& training,
                         double allowance) {
  if (context.device.is_cuda()) {
    const std::optional<int64_t> bytes = GpuMemoryBytes(context.device.index());
    if (!bytes.has_value()) return absl::OkStatus();
    return CheckGpuTrainingMemory(source.config(), source.ParameterCount(), training, static_cast<double>(*bytes),
                                  allowance);
  }
  const char* const local = std::getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
  return CheckTrainingMemory(source.config(), source.ParameterCount(), training,
                             local == nullptr ? 1 : std::atoll(local));
}

/// Decides what `shard: auto` shards: as little as fits into the memory of every rank. Every rank decides the same.
/// Refuses what has no room at all. Returns the training with what was chosen.
absl::StatusOr<PlannedTraining> ChooseSharding(StageContext& context, const SourceModel& source,
                                               PlannedTraining training) {
  const std::vector<Sharding> allowed = AllowedSharding(context.spec().finetune());
  // For each, the number of ranks that lack the memory.
  at::Tensor lacking = at::zeros({static_cast<int64_t>(allowed.size())}, at::kLong);
  for (size_t i = 0; i < allowed.size(); ++i) {
    SetSharding(allowed[i], context.spec().finetune(), training);
    if (!CheckMemory(context, source, training, /*allowance=*/0).ok()) lacking[static_cast<int64_t>(i)] += 1;
  }
  REGROUP_RETURN_IF_ERROR(context.communicator.AllReduceSum(lacking));
  for (size_t i = 0; i < allowed.size(); ++i) {
    SetSharding(allowed[i], context.spec().finetune(), training);
    if (lacking[static_cast<int64_t>(i)].item<int64_t>() == 0) break;
  }
  if (training.sharding != allowed.front()) {
    LogInfo("what each rank keeps of the training is sliced, since all of it does not fit",
            {{"shard", training.sharding == Sharding::kAll ? "all" : "gradients"},
             {"ranks_without_room", lacking[0].item<int64_t>()}});
  }
  REGROUP_RETURN_IF_ERROR(CheckMemory(context, source, training, kEstimateError));
  return training;
}

/// Makes all ranks attend in the same way; returns whether that is by the kernel for sequences.
absl::StatusOr<bool> AgreeOnAttention(StageContext& context, at::ScalarType type, int64_t head_width) {
  at::Tensor able = at::full({1}, CanAttendSequences(context.device, type, head_width) ? 1 : 0, at::kLong);
  REGROUP_RETURN_IF_ERROR(context.communicator.AllReduceSum(able));
  const bool all = able.item<int64_t>() == context.communicator.size();
  if (!all) AttendByMasksOnly();
  return all;
}

/// Returns the inputs, other than their shape, on which the teacher's states depend.
std::string FingerprintOf(const StageContext& context, const TokenWindows& windows, bool by_sequences) {
  return fmt::format("{} {} {} {} {}{}", context.spec().source().checkpoint(), windows.store_digest(),
                     windows.sequence_length(), context.spec().finetune().across_documents(), context.device.is_cuda(),
                     by_sequences ? " sequences" : "");
}

/// Opens the file in the job's folder: attempts and the arms of a sweep share it.
absl::StatusOr<TeacherStates> OpenTeacherStates(const StageContext& context, const Model& teacher,
                                                const TokenWindows& windows, at::ScalarType type, bool by_sequences) {
  const int64_t length = windows.sequence_length();
  return TeacherStates::Open(context.attempt_folder.parent_path().parent_path() / "teacher-states",
                             {.positions = length - teacher.config.EncoderInputs(length),
                              .hidden_size = teacher.config.hidden_size,
                              .dtype = type,
                              .fingerprint = FingerprintOf(context, windows, by_sequences)});
}

absl::Status Resume(StageContext& context, DistillTrainer& trainer) {
  context.link.activity().SetPhase("reading the checkpoint");
  REGROUP_ASSIGN_OR_RETURN(const std::optional<TrainingCheckpoint> found,
                           FindTrainingCheckpoint(CheckpointFolders(context), context.communicator,
                                                  [&] { context.link.activity().Tick(); }));
  if (!found.has_value()) return absl::OkStatus();
  if (context.leads()) {
    const std::optional<double> useful = RecordedValue(context.attempt_folder, kUsefulSeconds, found->step);
    trainer.CountEarlierSteps(found->step, useful.value_or(0));
    context.link.activity().Tick();
  }
  REGROUP_RETURN_IF_ERROR(trainer.Resume(*found));
  // Every rank has read it by then.
  REGROUP_RETURN_IF_ERROR(context.communicator.RestingBarrier());
  if (context.leads()) RemoveSuperseded(CheckpointFolders(context), *found);
  LogInfo("resumed", {{"step", found->step}, {"checkpoint", found->folder.string()}});
  return absl::OkStatus();
}

absl::Status ChooseTrained(const v1::Finetune& finetune, const Teacher& teacher, Student& student) {
  if (TrainsAttentionOnly(finetune, teacher.model.config))
    student.TrainAttentionOnly(teacher.model, teacher.slices.get());
  if (finetune.train() != "lora") return absl::OkStatus();
  return student.TrainAdapters(
      teacher.model,
      {.rank = finetune.lora_rank(), .alpha = finetune.lora_alpha(), .seed = static_cast<uint64_t>(finetune.seed())},
      teacher.slices.get());
}

/// Gives the leader the blocks of a sliced student, of which every rank has a part.
class BlockService {
 public:
  BlockService(Student& student, Communicator& communicator) : student_(student), communicator_(communicator) {}

  /// On the leader: returns a block, with the help of the ranks in Serve.
  absl::StatusOr<Block> Get(int64_t layer) {
    REGROUP_RETURN_IF_ERROR(Agree(layer).status());
    absl::StatusOr<Block> block = FetchBlock(student_, layer);
    if (!block.ok()) failed_ = true;
    return block;
  }
  /// On the leader: ends Serve. After a failed call the others are somewhere else, and end with this process.
  absl::Status End() { return failed_ ? absl::OkStatus() : Agree(kEnd).status(); }
  /// On the other ranks.
  absl::Status Serve() {
    while (true) {
      REGROUP_ASSIGN_OR_RETURN(const int64_t layer, Agree(kEnd));
      if (layer == kEnd) return absl::OkStatus();
      REGROUP_RETURN_IF_ERROR(FetchBlock(student_, layer).status());
    }
  }

 private:
  static constexpr int64_t kEnd = -1;

  /// Returns the leader's number.
  absl::StatusOr<int64_t> Agree(int64_t number) {
    // The others wait while the leader writes.
    REGROUP_RETURN_IF_ERROR(communicator_.RestingBarrier());
    at::Tensor sent = at::full({1}, number, at::kLong);
    REGROUP_RETURN_IF_ERROR(communicator_.Broadcast(sent, /*root=*/0));
    return sent.item<int64_t>();
  }

  Student& student_;
  Communicator& communicator_;
  bool failed_ = false;
};

v1::TaskOutcome PausedOutcome() {
  v1::TaskOutcome outcome;
  outcome.set_paused(true);
  return outcome;
}

absl::Status WriteResult(const StageContext& context, const SourceModel& source, const ConvertedModel& trained) {
  const std::filesystem::path folder = context.out() / artifacts::kTrainedModel;
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  REGROUP_RETURN_IF_ERROR(MakeFolders(folder));
  return WriteConvertedFolder(folder, source, {{"stage", "finetune"}}, trained.outer.embedding.scalar_type(), trained);
}

/// Writes the trained model on the leader.
absl::Status WriteStudent(StageContext& context, const SourceModel& source, Student& student) {
  at::NoGradGuard no_gradients;
  const Model trained = student.Effective({});
  ConvertedModel converted{.config = trained.config, .outer = trained};
  if (student.slices() == nullptr) {
    converted.block = [&](int64_t layer) -> absl::StatusOr<Block> { return trained.blocks[layer]; };
    return context.leads() ? WriteResult(context, source, converted) : absl::OkStatus();
  }
  BlockService service(student, context.communicator);
  if (!context.leads()) return service.Serve();
  converted.block = [&](int64_t layer) { return service.Get(layer); };
  const absl::Status written = WriteResult(context, source, converted);
  const absl::Status ended = service.End();
  return written.ok() ? ended : written;
}

}  // namespace

absl::StatusOr<v1::TaskOutcome> RunFinetune(StageContext& context) {
  const v1::Finetune& finetune = context.spec().finetune();
  context.link.SetProgress("load", 0, 0);
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, OpenSource(context));
  REGROUP_ASSIGN_OR_RETURN(const Conversion conversion, LoadConversion(context, source.config()));
  const bool bild = finetune.loss() == "bild";
  const at::ScalarType type = TrainingType(finetune.precision(), context.device);
  const bool gated = context.assignment.arm().finetune() == "l0";
  const PlannedTraining planned =
      PlanTraining(context.spec(), source.config(), conversion.MergedConfig().kv_heads, gated, context.device);
  REGROUP_ASSIGN_OR_RETURN(const PlannedTraining chosen, ChooseSharding(context, source, planned));
  std::optional<GangPlace> sliced_at;
  if (chosen.sharding == Sharding::kAll) sliced_at = {context.communicator.rank(), context.communicator.size()};
  REGROUP_ASSIGN_OR_RETURN(const Teacher teacher, LoadTeacher(source, type, context.device, sliced_at));
  const bool rest_is_frozen = TrainsAttentionOnly(finetune, source.config()) || finetune.train() == "lora";
  REGROUP_ASSIGN_OR_RETURN(Student student, Student::Make(source, conversion, gated, type, context.device, sliced_at,
                                                          rest_is_frozen ? &teacher : nullptr));
  REGROUP_RETURN_IF_ERROR(ChooseTrained(finetune, teacher, student));

  REGROUP_ASSIGN_OR_RETURN(
      const TokenWindows windows,
      ReadWindows(context, TextOf(finetune), source, {.sequence_length = SequenceLength(finetune, source.config())}));

  const DistillSettings settings{
      .steps = finetune.steps(),
      .batch_sequences = finetune.batch_sequences(),
      .micro_batch_sequences = finetune.micro_batch_sequences(),
      .learning_rate = FinetuneRate(context.spec(), context.assignment.arm()),
      .flops_per_token = TrainingFlops(source.config(), conversion.MergedConfig().kv_heads, gated,
                                       source.config().StreamTokens(windows.sequence_length())),
      .peak_flops_per_second = PeakOfAll(context, type),
      .seed = static_cast<uint64_t>(finetune.seed()),
      .checkpoint_every_steps = finetune.checkpoint_every_steps(),
      .checkpoints = context.attempt_folder / attempt_files::kTrainingCheckpoints,
      .recompute = chosen.recompute,
      .across_documents = finetune.across_documents(),
      // On the CPU, ranks need their cores for the backward pass itself.
      .overlap = context.device.is_cuda(),
      .shard_gradients = chosen.sharding != Sharding::kOptimizer,
      .loss = bild ? DistillLoss::kBild : DistillLoss::kKl,
      .attention_weight = finetune.attention_weight(),
      .measure_every_steps = finetune.evaluate_every_steps(),
      .stop_when_no_better = finetune.stop_when_no_better()};
  REGROUP_ASSIGN_OR_RETURN(const bool by_sequences, AgreeOnAttention(context, type, source.config().head_width));
  DistillTrainer trainer(settings, student, teacher.model, windows, context.communicator, context.link, context.device);
  if (teacher.slices != nullptr) trainer.FetchTeacher(*teacher.slices);
  std::optional<TeacherStates> states;
  if (finetune.teacher() == "cache") {
    REGROUP_ASSIGN_OR_RETURN(states, OpenTeacherStates(context, teacher.model, windows, type, by_sequences));
    trainer.KeepTeacherStates(*states);
  }
  std::optional<TokenWindows> measured;
  if (finetune.evaluate_every_steps() > 0) {
    REGROUP_ASSIGN_OR_RETURN(measured, ReadEvaluationWindows(context, source));
    trainer.MeasureOn(*measured, finetune.evaluate_windows());
  }
  StartEventFiles(context, finetune.steps());
  REGROUP_RETURN_IF_ERROR(Resume(context, trainer));
  if (context.leads()) context.link.RecordMetrics(context.out() / attempt_files::kCurves);
  REGROUP_RETURN_IF_ERROR(trainer.Run());
  if (trainer.is_paused()) return PausedOutcome();
  REGROUP_RETURN_IF_ERROR(WriteStudent(context, source, student));
  return v1::TaskOutcome();
}

}  // namespace regroup
