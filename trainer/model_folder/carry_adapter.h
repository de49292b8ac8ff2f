// Carries a LoRA adapter of a source over to its converted result (Hu et al., 2022, for the adapters).
//
// Merging is linear in the weights once the maps of the alignment are chosen, and the result's folder has them. With
// W' = merge(W), the update of W' is merge(B A): for queries, keys and values it maps the rows, so that B' = merge(B)
// and A stays; for the output projection it maps the columns, so that A' = merge(A) and B stays. Rank and scaling are
// those of the source's adapter. What merging keys and values loses of an update, it loses here too.
#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"

namespace regroup {

struct AdapterFolders {
  /// The adapter, as PEFT saved it; the converted model; and the adapter for that, which must not exist.
  std::filesystem::path source_adapter, result, output;
};

/// Writes the carried adapter and returns what was done:
/// {"output", "carried": {"query": modules, "key", "value", "output"}, "unchanged": modules, "rank": the largest,
///  "lost": {"key", "value"}: the share of the energy of B A that the shared heads cannot give back, over all layers;
///  missing where nothing was carried, "exact": true if the result is the merged source without any training, "notes"}
/// INVALID_ARGUMENT for what cannot be carried, with the setting or the module; NOT_FOUND and DATA_LOSS for files.
absl::StatusOr<nlohmann::ordered_json> CarryAdapter(const AdapterFolders& folders);

}  // namespace regroup
