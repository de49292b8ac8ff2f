// The initial metadata with which the coordinator answers a stream at once, before its first message.
//
// A stream may be silent for hours, while a job is queued or paused. By this entry a client knows, when the stream
// breaks, that it had reached the coordinator until then.
#pragma once

namespace regroup {

inline constexpr char kStreamOpeningKey[] = "regroup-stream";
inline constexpr char kStreamOpeningValue[] = "open";

}  // namespace regroup
