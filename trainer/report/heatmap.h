// Draws matrices of similarity as small pictures inside the page. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace regroup {

/// Returns an uncompressed PNG of `size` x `size` pixels in a 16-step scale, as a data URI. `levels` are 0 (light) to
/// 15 (dark), row by row. Drawn without smoothing, it can be scaled to any size on the page.
std::string SquarePicture(const std::vector<uint8_t>& levels, int64_t size);

/// Draws the similarities of all pairs of heads, [[...]], with the heads in the order of their groups: similar heads
/// then form squares on the diagonal. `low` and `high` are the ends of the scale. `description` is the alternative
/// text.
std::string Heatmap(const nlohmann::ordered_json& matrix, const std::vector<int64_t>& order, double low, double high,
                    const std::string& description);

/// Returns the smallest and largest entry off the diagonal, over several matrices; skips null matrices.
std::pair<double, double> RangeOff(const std::vector<const nlohmann::ordered_json*>& matrices);

}  // namespace regroup
