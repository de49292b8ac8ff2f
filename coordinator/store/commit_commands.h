// Statements that write the changes of one commit into the tables of a SqlJobStore. Pure.
#pragma once

#include <vector>

#include "coordinator/store/job_store.h"
#include "coordinator/store/sql.h"

namespace regroup {

/// Returns what a commit writes, in the order in which it must be applied. A request id that is taken makes the commit
/// fail.
std::vector<SqlCommand> CommandsFor(const Changes& changes);

/// Returns a time as the tables store it.
inline int64_t MicrosOf(Time time) { return time.time_since_epoch().count(); }

}  // namespace regroup
