// Shows a job while it runs. Used from one thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "regroup/v1/job.pb.h"
#include "services/cli/stage_summary.h"
#include "services/cli/terminal.h"

namespace regroup {

class ProgressView {
 public:
  virtual ~ProgressView() = default;
  /// Shows the job as of `now_s` (seconds since 1970). Called often; prints only news.
  virtual void Show(const v1::Job& job, double now_s) = 0;
  /// Prints a message that stays on the screen.
  virtual void Note(std::string_view text) = 0;
};

/// Draws the stages in place, on a terminal.
class LiveProgress final : public ProgressView {
 public:
  LiveProgress();
  ~LiveProgress() override;
  void Show(const v1::Job& job, double now_s) override;
  void Note(std::string_view text) override;

 private:
  void Draw(const std::vector<std::string>& lines);
  void Erase();

  std::vector<std::string> drawn_;
};

/// Prints lines at the start and the end of a stage and at each tenth of it, for piped output.
class PlainProgress final : public ProgressView {
 public:
  void Show(const v1::Job& job, double now_s) override;
  void Note(std::string_view text) override;

 private:
  struct Seen {
    v1::TaskState state = v1::TASK_STATE_UNSPECIFIED;
    int tenths = 0;
  };
  struct Waiting {
    std::string reason;
    double since_s = 0;
    bool printed = true;
  };
  void ShowStage(const StageSummary& stage, double now_s);
  void ShowWaiting(const v1::Job& job, double now_s);
  void PrintState(const v1::Job& job, double now_s);
  void Print(std::string_view text, double now_s);

  std::map<std::string, Seen> seen_;
  v1::JobState state_ = v1::JOB_STATE_UNSPECIFIED;
  Waiting waiting_;
};

/// Shows nothing: for --json.
class SilentProgress final : public ProgressView {
 public:
  void Show(const v1::Job&, double) override {}
  void Note(std::string_view) override {}
};

/// Returns the view that suits standard output.
std::unique_ptr<ProgressView> MakeProgressView(bool json);

}  // namespace regroup
