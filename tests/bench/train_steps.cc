// Runs some steps of Regroup's own training loop on one batch, for a script that compares it with something else: the
// merged model (heads averaged over neighbours, `direct`) learns from its source. Runs on several ranks by mpirun.
//
// The data file has one window per line, {"text": "<ids with spaces>"}, so that any other program can read the same
// batch.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <malloc.h>

#include <charconv>
#include <filesystem>

#include <CLI/CLI.hpp>

#include "services/common/base/status_macros.h"
#include "trainer/data/token_windows.h"
#include "trainer/link/worker_link.h"
#include "trainer/model_folder/conversion.h"
#include "trainer/model_folder/source_model.h"
#include "trainer/parallel/device.h"
#include "trainer/training/distill_trainer.h"
#include "trainer/training/student.h"
#include "trainer/training/teacher.h"

namespace regroup {
namespace {

struct Arguments {
  std::string model, data, curves;
  std::string dtype = "float32";
  std::string device = "cpu";
  int64_t kv_heads = 2;
  int64_t sequence_length = 256;
  int64_t sequences_per_rank = 8;
  /// 0 means all sequences of a rank.
  int64_t micro_batch_sequences = 0;
  int64_t steps = 4;
  double learning_rate = 1e-4;
  std::string recompute = "none";
  bool overlap = true;
  /// The word of finetune.shard.
  std::string shard = "optimizer";
  bool across_documents = true;
  /// If empty, the teacher runs in every step.
  std::string teacher_states;
};

/// Reads texts that are lists of ids.
class NumberTokenizer final : public Tokenizer {
 public:
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const override { return EncodeOrdinary(text); }
  absl::StatusOr<std::vector<int32_t>> EncodeOrdinary(std::string_view text) const override {
    std::vector<int32_t> ids;
    const char* const end = text.data() + text.size();
    for (const char* place = text.data(); place < end; ++place) {
      int32_t id = 0;
      const auto [behind, error] = std::from_chars(place, end, id);
      if (error != std::errc()) return absl::InvalidArgumentError("not a list of ids: " + std::string(text));
      ids.push_back(id);
      place = behind;
    }
    return ids;
  }
  absl::StatusOr<std::string> Decode(std::span<const int32_t>) const override {
    return absl::UnimplementedError("ids have no text");
  }
  std::optional<int32_t> bos_id() const override { return std::nullopt; }
  std::optional<int32_t> eos_id() const override { return std::nullopt; }
  int64_t vocabulary_size() const override { return 0; }
};

Recompute RecomputeNamed(const std::string& word) {
  if (word == "full") return Recompute::kBlock;
  return word == "selective" ? Recompute::kFeedForward : Recompute::kNothing;
}

absl::Status Train(const Arguments& arguments, at::Device device, Communicator& communicator) {
  const at::ScalarType dtype = arguments.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, SourceModel::Open(arguments.model));
  REGROUP_ASSIGN_OR_RETURN(const Conversion conversion, Conversion::Average(source.config(), arguments.kv_heads));
  std::optional<GangPlace> sliced_at;
  if (arguments.shard == "all") sliced_at = {communicator.rank(), communicator.size()};
  REGROUP_ASSIGN_OR_RETURN(Student student,
                           Student::Make(source, conversion, /*gated=*/false, dtype, device, sliced_at));
  REGROUP_ASSIGN_OR_RETURN(const Teacher teacher, LoadTeacher(source, dtype, device, sliced_at));
  REGROUP_ASSIGN_OR_RETURN(const TokenWindows windows,
                           TokenWindows::Build(arguments.data, NumberTokenizer(),
                                               {.sequence_length = arguments.sequence_length, .threads = 1}));
  REGROUP_ASSIGN_OR_RETURN(const auto link, WorkerLink::Connect({}, communicator.rank(), communicator.size()));
  if (communicator.rank() == 0) link->RecordMetrics(arguments.curves);
  const DistillSettings settings{.steps = arguments.steps,
                                 .batch_sequences = arguments.sequences_per_rank * communicator.size(),
                                 .micro_batch_sequences = arguments.micro_batch_sequences > 0
                                                              ? arguments.micro_batch_sequences
                                                              : arguments.sequences_per_rank,
                                 .learning_rate = arguments.learning_rate,
                                 .recompute = RecomputeNamed(arguments.recompute),
                                 .across_documents = arguments.across_documents,
                                 .overlap = arguments.overlap,
                                 .shard_gradients = arguments.shard != "optimizer"};
  DistillTrainer trainer(settings, student, teacher.model, windows, communicator, *link, device);
  if (teacher.slices != nullptr) trainer.FetchTeacher(*teacher.slices);
  std::optional<TeacherStates> states;
  if (!arguments.teacher_states.empty()) {
    REGROUP_ASSIGN_OR_RETURN(
        states, TeacherStates::Open(arguments.teacher_states, {.positions = arguments.sequence_length,
                                                               .hidden_size = teacher.model.config.hidden_size,
                                                               .dtype = dtype}));
    trainer.KeepTeacherStates(*states);
  }
  return trainer.Run();
}

absl::Status Run(const Arguments& arguments) {
  REGROUP_ASSIGN_OR_RETURN(const at::Device device, ChooseDevice(arguments.device));
  REGROUP_ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> communicator, JoinGang(device, AbortWith));
  return Train(arguments, device, *communicator);
}

int Main(int argc, char** argv) {
  // Same setting as in regroup-trainer.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
  Arguments arguments;
  CLI::App app("train_steps");
  app.add_option("--model", arguments.model, "checkpoint folder")->required();
  app.add_option("--data", arguments.data, "windows of ids")->required();
  app.add_option("--curves", arguments.curves, "append the figures of the steps to this file")->required();
  app.add_option("--dtype", arguments.dtype)->check(CLI::IsMember({"float32", "bfloat16"}));
  app.add_option("--device", arguments.device)->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--recompute", arguments.recompute, "recompute activations in the backward pass")
      ->check(CLI::IsMember({"none", "selective", "full"}));
  app.add_option("--kv-heads", arguments.kv_heads);
  app.add_option("--sequence-length", arguments.sequence_length);
  app.add_option("--sequences-per-rank", arguments.sequences_per_rank);
  app.add_option("--micro-batch", arguments.micro_batch_sequences, "sequences in one forward and backward pass");
  app.add_option("--steps", arguments.steps);
  app.add_option("--learning-rate", arguments.learning_rate);
  app.add_option("--overlap", arguments.overlap, "sum gradients in parallel to the backward pass");
  app.add_option("--shard", arguments.shard, "the part of the training's state of which a rank keeps its slice only")
      ->check(CLI::IsMember({"optimizer", "gradients", "all"}));
  app.add_option("--across-documents", arguments.across_documents, "attention crosses document boundaries");
  app.add_option("--teacher-states", arguments.teacher_states, "keep the teacher's hidden states in this folder");
  CLI11_PARSE(app, argc, argv);

  const absl::Status status = Run(arguments);
  if (status.ok()) return 0;
  fmt::print(stderr, "train_steps: {}\n", std::string(status.message()));
  return 1;
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) { return regroup::Main(argc, argv); }
