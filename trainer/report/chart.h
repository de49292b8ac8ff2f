// Draws the report's charts as inline SVG without scripts. Colours come from the page's style, so that they follow
// light and dark mode; every series also has its own dash pattern and a text label, so that colour is never the only
// distinction. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace regroup {

struct ChartPoint {
  double x = 0;
  double y = 0;
  /// Ends of an error bar, if there is one.
  std::optional<double> low, high;
};

struct ChartSeries {
  std::string name;
  std::vector<ChartPoint> points;
};

struct ChartOptions {
  /// Title of the chart; screen readers read it too.
  std::string title;
  std::string x_label;
  std::string y_label;
  /// If true, points are placed by rank and labelled with their x, for values such as 1, 2, 4, 8.
  bool x_by_rank = false;
  bool y_from_zero = false;
  bool y_logarithmic = false;
  /// The axis includes at least these values, so that charts side by side have the same scale.
  std::optional<double> y_low, y_high;
  /// If true, points are also drawn as dots; for curves of many steps they would hide the line.
  bool dots = true;
};

/// Returns a figure element with title, chart and legend, or with a sentence if there is nothing to draw.
std::string LineChart(const ChartOptions& options, const std::vector<ChartSeries>& series);

struct ChartBar {
  std::string label;
  double value = 0;
  /// A mark on the same scale.
  double mark = 0;
};

/// Returns horizontal bars with a mark each, for example a speed-up and its bound.
std::string BarChart(const std::string& title, const std::string& value_name, const std::string& mark_name,
                     const std::vector<ChartBar>& bars);

}  // namespace regroup
