// A valid job, for tests that break one thing in it.
#pragma once

#include "regroup/v1/job.pb.h"

namespace regroup {

inline v1::JobSpec GoodJob() {
  v1::JobSpec spec;
  spec.set_name("llama-gqa2");
  spec.mutable_source()->set_checkpoint("/models/llama");
  spec.mutable_target()->set_kv_heads(2);
  spec.mutable_calibration()->set_data("/data/train.jsonl");
  spec.mutable_finetune()->set_steps(100);
  spec.mutable_evaluation()->mutable_perplexity()->set_data("/data/valid.jsonl");
  spec.mutable_output()->set_checkpoint("/models/llama-gqa2");
  return spec;
}

}  // namespace regroup
