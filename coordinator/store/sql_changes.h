// What a commit writes, as statements that every SQL store understands. Pure.
#pragma once

#include <vector>

#include "coordinator/store/job_store.h"
#include "coordinator/store/sql.h"

namespace regroup {

/// In the order in which they must be applied. A request id that is taken fails.
std::vector<SqlCommand> CommandsFor(const Changes& changes);

/// As the tables store it.
inline int64_t MicrosOf(Time time) { return time.time_since_epoch().count(); }

}  // namespace regroup
