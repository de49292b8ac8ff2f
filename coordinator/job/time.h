// Time as data: the coordinator's core reads no clock; every event carries its time.
#pragma once

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include <algorithm>
#include <chrono>

namespace regroup {

using Duration = std::chrono::microseconds;
using Time = std::chrono::sys_time<Duration>;

inline google::protobuf::Timestamp ToProto(Time time) {
  google::protobuf::Timestamp proto;
  const int64_t micros = time.time_since_epoch().count();
  proto.set_seconds(micros / 1000000);
  proto.set_nanos(static_cast<int32_t>(micros % 1000000) * 1000);
  return proto;
}

/// Returns true for a time that was set: the tables and messages keep none as 1970.
inline bool IsSet(Time time) { return time != Time{}; }

/// Ten thousand years. A message can contain any number of seconds; beyond this one, microseconds would overflow.
inline constexpr int64_t kMostSeconds = 315'576'000'000;

inline Duration BoundedDuration(int64_t seconds, int32_t nanos) {
  return std::chrono::seconds(std::clamp(seconds, -kMostSeconds, kMostSeconds)) + Duration(nanos / 1000);
}

inline Time FromProto(const google::protobuf::Timestamp& proto) {
  return Time(BoundedDuration(proto.seconds(), proto.nanos()));
}

inline google::protobuf::Duration ToProto(Duration duration) {
  google::protobuf::Duration proto;
  proto.set_seconds(duration.count() / 1000000);
  proto.set_nanos(static_cast<int32_t>(duration.count() % 1000000) * 1000);
  return proto;
}

inline Duration FromProto(const google::protobuf::Duration& proto) {
  return BoundedDuration(proto.seconds(), proto.nanos());
}

inline double Seconds(Duration duration) { return static_cast<double>(duration.count()) * 1e-6; }

}  // namespace regroup
