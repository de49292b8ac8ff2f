#include "trainer/event_files/training_events.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"
#include "trainer/event_files/histogram.h"

namespace regroup {
namespace {

constexpr int64_t kMostPoints = 10'000;

double SecondsSince1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

std::filesystem::path EventFilePath(const EventFileSettings& settings) {
  return settings.folder / fmt::format("events.out.tfevents.{:010}", settings.epoch);
}

TrainingEvents::TrainingEvents(EventFileSettings settings)
    : settings_(std::move(settings)),
      stride_(std::max<int64_t>(1, (settings_.steps + kMostPoints - 1) / kMostPoints)) {}

bool TrainingEvents::IsDue(int64_t step, std::string_view series) {
  const auto last = last_steps_.find(series);
  if (last == last_steps_.end()) {
    last_steps_.emplace(series, step);
    return true;
  }
  if (step < last->second + stride_) return false;
  last->second = step;
  return true;
}

void TrainingEvents::AddValues(int64_t step, Values values) {
  tensorboard::Summary summary;
  for (const auto& [name, value] : values) {
    if (!IsDue(step, name)) continue;
    tensorboard::Summary::Value& point = *summary.add_value();
    point.set_tag(std::string(name));
    point.set_simple_value(static_cast<float>(value));
  }
  Write(step, summary);
}

void TrainingEvents::AddHistogram(int64_t step, std::string_view name, std::span<const double> values) {
  if (!IsDue(step, name)) return;
  tensorboard::Summary summary;
  tensorboard::Summary::Value& point = *summary.add_value();
  point.set_tag(std::string(name));
  *point.mutable_histo() = CountByBuckets(values);
  Write(step, summary);
}

void TrainingEvents::ContinueAfter(int64_t step) {
  start_ = step + 1;
  last_steps_.clear();
}

void TrainingEvents::Write(int64_t step, const tensorboard::Summary& summary) {
  if (failed_ || summary.value().empty()) return;
  tensorboard::Event event;
  event.set_step(step);
  *event.mutable_summary() = summary;
  const absl::Status written = Append(std::move(event));
  if (written.ok()) return;
  failed_ = true;
  LogWarning("no more TensorBoard events are written", {{"error", std::string(written.message())}});
}

absl::Status TrainingEvents::Append(tensorboard::Event event) {
  if (!file_.has_value()) {
    REGROUP_ASSIGN_OR_RETURN(file_, EventFile::Create(EventFilePath(settings_)));
  }
  if (start_.has_value()) REGROUP_RETURN_IF_ERROR(AppendStart());
  event.set_wall_time(SecondsSince1970());
  return file_->Append(event);
}

absl::Status TrainingEvents::AppendStart() {
  tensorboard::Event start;
  start.set_wall_time(SecondsSince1970());
  start.set_step(*start_);
  start.mutable_session_log()->set_status(tensorboard::SessionLog::START);
  start_.reset();
  return file_->Append(start);
}

}  // namespace regroup
