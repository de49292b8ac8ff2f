#include "services/common/job_file/path_fields.h"

#include <fmt/format.h>

namespace regroup {

void ForEachPath(v1::JobSpec& spec, const std::function<void(const std::string& field, std::string& path)>& visit) {
  const auto visit_written = [&](const std::string& field, std::string* path) {
    if (!path->empty()) visit(field, *path);
  };
  if (spec.has_source()) visit_written("source.checkpoint", spec.mutable_source()->mutable_checkpoint());
  if (spec.has_calibration()) visit_written("calibration.data", spec.mutable_calibration()->mutable_data());
  if (spec.has_finetune()) visit_written("finetune.data", spec.mutable_finetune()->mutable_data());
  if (spec.has_output()) visit_written("output.checkpoint", spec.mutable_output()->mutable_checkpoint());
  if (!spec.has_evaluation()) return;
  v1::Evaluation& evaluation = *spec.mutable_evaluation();
  if (evaluation.has_perplexity()) {
    visit_written("evaluation.perplexity.data", evaluation.mutable_perplexity()->mutable_data());
  }
  for (int i = 0; i < evaluation.multiple_choice_size(); ++i) {
    visit_written(fmt::format("evaluation.multiple_choice[{}].data", i),
                  evaluation.mutable_multiple_choice(i)->mutable_data());
  }
}

}  // namespace regroup
