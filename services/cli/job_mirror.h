// Rebuilds a job from its event stream. Pure; not thread-safe.
#pragma once

#include <string>

#include "regroup/v1/job_service.pb.h"

namespace regroup {

class JobMirror {
 public:
  /// Applies an event. The first event of a stream without a resume token, and one after a gap, has the whole job;
  /// others have only the changed tasks.
  void Apply(const v1::JobEvent& event);

  /// Announces that the next event is the first of a stream without a resume token and has the whole job.
  void ExpectWholeJob() { expects_whole_job_ = true; }

  const v1::Job& job() const { return job_; }
  const std::string& resume_token() const { return resume_token_; }

 private:
  v1::Job job_;
  std::string resume_token_;
  bool expects_whole_job_ = true;
};

}  // namespace regroup
