// Matrices of similarity as small pictures inside the page. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace regroup {

/// An uncompressed PNG of `size` x `size` pixels in a 16-step scale, as a data URI. `levels` are 0 (light) to 15
/// (dark), row by row. Drawn without smoothing it can be any size on the page.
std::string SquarePicture(const std::vector<uint8_t>& levels, int64_t size);

/// Similarities of all pairs of heads, [[...]], with the heads in the order of their groups: alike heads then form
/// squares on the diagonal. `low` and `high` are the ends of the scale. `description` is its text for those who do not
/// see it.
std::string Heatmap(const nlohmann::ordered_json& matrix, const std::vector<int64_t>& order, double low, double high,
                    const std::string& description);

/// Smallest and largest entry off the diagonal, over several matrices; null matrices are passed over.
std::pair<double, double> RangeOff(const std::vector<const nlohmann::ordered_json*>& matrices);

}  // namespace regroup
