// Lays out the table of `regroup top` for a terminal. Pure.
#pragma once

#include <string>
#include <vector>

#include "services/cli/cluster_overview.h"
#include "services/cli/terminal.h"

namespace regroup {

/// Returns at most `terminal.rows` lines of at most `terminal.columns` characters, and says how many jobs and workers
/// had no room. Names that are too long lose their middle. `overview` must be printable (printable.h).
std::vector<std::string> OverviewLines(const ClusterOverview& overview, double now_s, const Terminal& terminal);

/// Returns a text of at most `width` characters: the start and the end of a longer one, with "…" or "~" between them.
std::string WithoutMiddle(const std::string& text, size_t width, bool unicode);

}  // namespace regroup
