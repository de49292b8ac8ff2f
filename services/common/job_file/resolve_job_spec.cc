#include "services/common/job_file/resolve_job_spec.h"

#include "services/common/job_file/arms.h"
#include "services/common/job_file/data_names.h"

namespace regroup {
namespace {

bool IsBest(const v1::JobSpec& spec) { return spec.recipe() == "best"; }

/// Takes the text of another section where a section names none.
template <typename From, typename To>
void InheritData(const From& from, To& to) {
  if (HasData(to)) return;
  to.set_data(from.data());
  *to.mutable_data_files() = from.data_files();
  if (from.has_field() && !to.has_field()) to.set_field(from.field());
}

template <typename Section>
void ResolveField(Section& section) {
  if (HasData(section) && !section.has_field()) section.set_field("text");
}

void ResolveCalibration(v1::Calibration& calibration) {
  if (!calibration.has_sequences()) calibration.set_sequences(128);
  if (!calibration.has_ranks()) calibration.set_ranks(1);
  ResolveField(calibration);
}

void ResolveAlignment(bool best, bool method_varies, v1::Alignment& alignment) {
  if (!alignment.has_method()) alignment.set_method(best ? "principal" : "procrustes");
  if (!alignment.has_compare()) alignment.set_compare("value");
  if (!alignment.has_similarity()) alignment.set_similarity("cosine");
  if (!alignment.has_seed()) alignment.set_seed(0);
  if (!alignment.has_match_energy()) alignment.set_match_energy(false);
  if (!alignment.has_restore_norm() && !method_varies) alignment.set_restore_norm(alignment.method() == "principal");
}

void ResolveLayerwise(bool best, const v1::JobSpec& spec, v1::Layerwise& layerwise) {
  if (!layerwise.has_method()) layerwise.set_method(best ? "distill" : "none");
  // Layers learn from texts, not from prompts and completions.
  if (spec.finetune().loss() != "bild") InheritData(spec.finetune(), layerwise);
  InheritData(spec.calibration(), layerwise);
  ResolveField(layerwise);
  if (!layerwise.has_sequences()) layerwise.set_sequences(512);
  if (!layerwise.has_passes()) layerwise.set_passes(2);
  if (!layerwise.has_batch_sequences()) layerwise.set_batch_sequences(2);
  if (!layerwise.has_map_weight()) layerwise.set_map_weight(1.0);
  if (!layerwise.has_seed()) layerwise.set_seed(0);
  if (!layerwise.has_precision()) layerwise.set_precision("auto");
}

/// Leaves the rate unset where only some arms of a sweep distill their layers: FinetuneRate (arms.h) knows the arm.
void ResolveLearningRate(const v1::JobSpec& spec, v1::Finetune& finetune) {
  if (finetune.has_learning_rate() || spec.sweep().layerwise_size() > 0) return;
  finetune.set_learning_rate(DefaultFinetuneRate(spec.layerwise().method() == "distill"));
}

void ResolveFinetune(bool best, const v1::Calibration& calibration, v1::Finetune& finetune) {
  if (!finetune.has_method()) finetune.set_method(best ? "direct" : "l0");
  if (!finetune.has_batch_sequences()) finetune.set_batch_sequences(64);
  if (!finetune.has_micro_batch_sequences()) finetune.set_micro_batch_sequences(1);
  if (!finetune.has_ranks()) finetune.set_ranks(1);
  if (!finetune.has_min_ranks()) finetune.set_min_ranks(finetune.ranks());
  if (!finetune.has_precision()) finetune.set_precision("auto");
  if (!finetune.has_checkpoint_every_steps()) finetune.set_checkpoint_every_steps(200);
  if (!finetune.has_seed()) finetune.set_seed(0);
  if (!finetune.has_train()) finetune.set_train("auto");
  if (!finetune.has_recompute()) finetune.set_recompute("none");
  if (!finetune.has_teacher()) finetune.set_teacher("compute");
  if (!finetune.has_shard()) finetune.set_shard("auto");
  if (!finetune.has_loss()) finetune.set_loss("kl");
  InheritData(calibration, finetune);
  if (finetune.loss() != "bild") ResolveField(finetune);
  if (!finetune.has_attention_weight()) finetune.set_attention_weight(0);
  // The bild loss is for instructions, which are unrelated to their neighbours.
  if (!finetune.has_across_documents()) finetune.set_across_documents(finetune.loss() != "bild");
  if (!finetune.has_lora_rank()) finetune.set_lora_rank(16);
  if (!finetune.has_evaluate_every_steps()) finetune.set_evaluate_every_steps(0);
  if (!finetune.has_evaluate_windows()) finetune.set_evaluate_windows(8);
  if (!finetune.has_stop_when_no_better()) finetune.set_stop_when_no_better(0);
  if (!finetune.has_lora_alpha()) finetune.set_lora_alpha(2.0 * finetune.lora_rank());
}

void ResolveEvaluation(v1::Evaluation& evaluation) {
  if (evaluation.has_perplexity()) {
    v1::Evaluation::Perplexity& perplexity = *evaluation.mutable_perplexity();
    if (!perplexity.has_max_windows()) perplexity.set_max_windows(0);
    ResolveField(perplexity);
  }
  if (evaluation.has_latency() && !evaluation.latency().has_new_tokens()) {
    evaluation.mutable_latency()->set_new_tokens(64);
  }
  if (evaluation.has_answers() && !evaluation.answers().has_new_tokens())
    evaluation.mutable_answers()->set_new_tokens(64);
  if (evaluation.has_needle() && !evaluation.needle().has_items()) evaluation.mutable_needle()->set_items(16);
  if (Measures(evaluation) && !evaluation.has_ranks()) evaluation.set_ranks(1);
}

void ResolveServing(v1::Serving& serving) {
  if (!serving.has_memory_share()) serving.set_memory_share(0.9);
  if (!serving.has_cache_dtype()) serving.set_cache_dtype("auto");
}

void ResolveResources(v1::Resources& resources) {
  if (!resources.has_device()) resources.set_device("auto");
  if (!resources.has_max_runtime_s()) resources.set_max_runtime_s(86400);
  if (!resources.has_priority()) resources.set_priority(0);
  if (!resources.has_event_files()) resources.set_event_files(true);
}

/// Removes slashes and "/." from the end, as the completion of a shell writes them: the folder's own name must come
/// last, because the result is staged beside it.
void RemoveEnd(std::string& path) {
  while (path.size() > 1 && (path.ends_with('/') || path.ends_with("/."))) path.pop_back();
}

}  // namespace

v1::JobSpec ResolveJobSpec(const v1::JobSpec& spec) {
  v1::JobSpec resolved = spec;
  if (resolved.has_source()) RemoveEnd(*resolved.mutable_source()->mutable_checkpoint());
  if (resolved.has_output()) RemoveEnd(*resolved.mutable_output()->mutable_checkpoint());
  if (resolved.recipe().empty()) resolved.set_recipe("paper");
  if (!resolved.target().has_per_layer()) resolved.mutable_target()->set_per_layer("none");
  const bool best = IsBest(resolved);
  ResolveCalibration(*resolved.mutable_calibration());
  ResolveAlignment(best, resolved.sweep().alignment_size() > 0, *resolved.mutable_alignment());
  ResolveLayerwise(best, resolved, *resolved.mutable_layerwise());
  ResolveFinetune(best, resolved.calibration(), *resolved.mutable_finetune());
  ResolveLearningRate(resolved, *resolved.mutable_finetune());
  // Training gives better results from an unrefined model; see "After equal training" in trainer/alignment/README.md.
  const bool trains = AnyArmTrains(resolved) || AnyArmDistillsLayers(resolved);
  if (!resolved.refine().has_outputs()) resolved.mutable_refine()->set_outputs(best && !trains);
  if (resolved.has_evaluation()) ResolveEvaluation(*resolved.mutable_evaluation());
  if (resolved.has_serving()) ResolveServing(*resolved.mutable_serving());
  ResolveResources(*resolved.mutable_resources());
  return resolved;
}

}  // namespace regroup
