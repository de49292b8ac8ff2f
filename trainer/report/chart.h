// Charts of the report as SVG that stands in the page: no script, colours from the page's style, so that they follow
// light and dark; every series has its own dash and a text label, so that colour is never the only sign. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace regroup {

struct ChartPoint {
  double x = 0;
  double y = 0;
  /// Ends of an error bar, where there is one.
  std::optional<double> low, high;
};

struct ChartSeries {
  std::string name;
  std::vector<ChartPoint> points;
};

struct ChartOptions {
  /// What the chart shows; also read aloud.
  std::string title;
  std::string x_label;
  std::string y_label;
  /// Positions are the points' ranks, labelled with their x, for values such as 1, 2, 4, 8.
  bool x_by_rank = false;
  bool y_from_zero = false;
  bool y_logarithmic = false;
  /// Shows at least these values, so that charts side by side have one scale.
  std::optional<double> y_low, y_high;
  /// Points are drawn as dots too; for curves of many steps they would hide the line.
  bool dots = true;
};

/// A figure element with title, chart and legend; a sentence instead where there is nothing to draw.
std::string LineChart(const ChartOptions& options, const std::vector<ChartSeries>& series);

struct ChartBar {
  std::string label;
  double value = 0;
  /// A mark on the same scale.
  double mark = 0;
};

/// Horizontal bars with a mark each, for example a speed-up and its bound.
std::string BarChart(const std::string& title, const std::string& value_name, const std::string& mark_name,
                     const std::vector<ChartBar>& bars);

}  // namespace regroup
