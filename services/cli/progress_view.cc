#include "services/cli/progress_view.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>

#include "services/cli/progress_lines.h"
#include "services/cli/quantity_text.h"
#include "services/common/base/enum_words.h"
#include "services/common/base/final_states.h"

namespace regroup {
namespace {

void Write(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

std::string ClockText(double now_s) {
  google::protobuf::Timestamp time;
  time.set_seconds(static_cast<int64_t>(now_s));
  const std::string text = TimeText(time);
  return text.size() > 11 ? text.substr(11) : text;
}

double Now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

}  // namespace

LiveProgress::LiveProgress() { Write("\x1b[?25l"); }

LiveProgress::~LiveProgress() { Write("\x1b[?25h"); }

void LiveProgress::Show(const v1::Job& job, double now_s) {
  const std::vector<std::string> lines = ProgressLines(job, now_s, StandardOutput());
  if (lines != drawn_) Draw(lines);
}

void LiveProgress::Note(std::string_view text) {
  const std::vector<std::string> lines = drawn_;
  Erase();
  Write(fmt::format("{}\n", text));
  Draw(lines);
}

void LiveProgress::Draw(const std::vector<std::string>& lines) {
  std::string out = drawn_.empty() ? "" : fmt::format("\x1b[{}F", drawn_.size());
  for (const std::string& line : lines) out += line + "\x1b[K\n";
  Write(out + "\x1b[J");
  drawn_ = lines;
}

void LiveProgress::Erase() {
  if (!drawn_.empty()) Write(fmt::format("\x1b[{}F\x1b[J", drawn_.size()));
  drawn_.clear();
}

void PlainProgress::Show(const v1::Job& job, double now_s) {
  const bool changed = job.state() != state_;
  state_ = job.state();
  // The end of the job is printed last, after the end of its last stage.
  if (changed && !IsFinalState(job.state())) PrintState(job, now_s);
  ShowWaiting(job, now_s);
  for (const StageSummary& stage : SummariseStages(job, now_s)) ShowStage(stage, now_s);
  if (changed && IsFinalState(job.state())) PrintState(job, now_s);
}

void PlainProgress::PrintState(const v1::Job& job, double now_s) {
  Print(fmt::format("{}: {}", job.name(), EnumWord(job.state())), now_s);
}

void PlainProgress::ShowWaiting(const v1::Job& job, double now_s) {
  constexpr double worth_a_line_s = 3;
  if (job.waiting_reason() != waiting_.reason) waiting_ = {job.waiting_reason(), now_s, job.waiting_reason().empty()};
  if (waiting_.printed || now_s - waiting_.since_s < worth_a_line_s) return;
  Print(waiting_.reason, now_s);
  waiting_.printed = true;
}

void PlainProgress::ShowStage(const StageSummary& stage, double now_s) {
  Seen& seen = seen_[stage.name];
  const int tenths = static_cast<int>(10 * stage.Fraction());
  const bool changed = stage.state != seen.state;
  const bool ran = stage.elapsed_s > 0 || stage.state != v1::TASK_STATE_CANCELLED;
  if (changed && stage.IsFinal() && ran) {
    const std::string word = stage.state == v1::TASK_STATE_SUCCEEDED ? "done" : EnumWord(stage.state);
    Print(fmt::format("{} {} in {}", stage.name, word, DurationText(stage.elapsed_s)), now_s);
  } else if (changed && stage.state == v1::TASK_STATE_RUNNING) {
    Print(fmt::format("{} started", stage.name), now_s);
  } else if (stage.state == v1::TASK_STATE_RUNNING && tenths > seen.tenths) {
    Print(PlainStageLine(stage), now_s);
  }
  seen = {stage.state, tenths};
}

void PlainProgress::Note(std::string_view text) { Print(text, Now()); }

void PlainProgress::Print(std::string_view text, double now_s) {
  Write(fmt::format("{} {}\n", ClockText(now_s), text));
}

std::unique_ptr<ProgressView> MakeProgressView(bool json) {
  if (json) return std::make_unique<SilentProgress>();
  if (StandardOutput().live) return std::make_unique<LiveProgress>();
  return std::make_unique<PlainProgress>();
}

}  // namespace regroup
