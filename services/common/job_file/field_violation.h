// What is wrong with one field of a job.
#pragma once

#include "google/rpc/error_details.pb.h"

namespace regroup {

/// The field's path in the job file ("finetune.steps"), and what to write instead.
using FieldViolation = google::rpc::BadRequest::FieldViolation;

}  // namespace regroup
