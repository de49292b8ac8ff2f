#include "trainer/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "trainer/report/html.h"

namespace regroup {
namespace {

constexpr double kWidth = 380, kHeight = 230;
constexpr double kLeft = 52, kRight = 12, kTop = 12, kBottom = 40;
constexpr size_t kStyles = 6;

/// Maps values to positions along one axis.
struct Axis {
  double low = 0, high = 1;
  double start = 0, end = 1;
  bool logarithmic = false;

  double Place(double value) const {
    const auto scale = [&](double v) { return logarithmic ? std::log(std::max(v, 1e-300)) : v; };
    const double range = scale(high) - scale(low);
    return range == 0 ? (start + end) / 2 : start + (scale(value) - scale(low)) / range * (end - start);
  }
};

/// Returns a step of 1, 2 or 5 times a power of ten that cuts the range into about `count` parts.
double NiceStep(double range, int count) {
  const double raw = range / count;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (raw <= factor * power * 1.0001) return factor * power;
  }
  return 10 * power;
}

std::vector<double> LinearTicks(double low, double high, int count) {
  if (high <= low) return {low};
  const double step = NiceStep(high - low, count);
  std::vector<double> ticks;
  for (double tick = std::ceil(low / step - 1e-9) * step; tick <= high + step * 1e-9; tick += step) {
    ticks.push_back(std::abs(tick) < step * 1e-9 ? 0 : tick);
  }
  return ticks;
}

/// Returns at most six ticks: 1, 2 and 5 of each decade, or powers of ten, or some of these.
std::vector<double> LogarithmicTicks(double low, double high) {
  constexpr size_t kMost = 6;
  std::vector<double> fine, coarse;
  for (double power = std::pow(10.0, std::floor(std::log10(low))); power <= high; power *= 10) {
    if (power >= low) coarse.push_back(power);
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor * power >= low && factor * power <= high) fine.push_back(factor * power);
    }
  }
  if (fine.size() < 2) return LinearTicks(low, high, 4);
  if (fine.size() <= kMost) return fine;
  const size_t stride = (coarse.size() + kMost - 1) / kMost;
  std::vector<double> ticks;
  for (size_t i = 0; i < coarse.size(); i += stride) ticks.push_back(coarse[i]);
  return ticks;
}

std::string TickText(double value) { return fmt::format("{:.6g}", value); }

void Widen(const ChartPoint& point, double& low, double& high) {
  low = std::min(low, point.low.value_or(point.y));
  high = std::max(high, point.high.value_or(point.y));
}

Axis VerticalAxis(const ChartOptions& options, const std::vector<ChartSeries>& series) {
  Axis axis{.low = INFINITY, .high = -INFINITY, .start = kHeight - kBottom, .end = kTop};
  for (const ChartSeries& one : series) {
    for (const ChartPoint& point : one.points) Widen(point, axis.low, axis.high);
  }
  axis.low = std::min(axis.low, options.y_low.value_or(axis.low));
  axis.high = std::max(axis.high, options.y_high.value_or(axis.high));
  axis.logarithmic = options.y_logarithmic && axis.low > 0;
  if (options.y_from_zero) axis.low = std::min(axis.low, 0.0);
  if (axis.high == axis.low) axis.high = axis.low + std::max(1e-9, std::abs(axis.low) * 0.1);
  if (axis.logarithmic) {
    axis.low /= 1.05;
    axis.high *= 1.05;
  } else {
    axis.high += (axis.high - axis.low) * 0.04;
  }
  return axis;
}

/// Stores the horizontal positions of all x, by value or by rank.
class HorizontalAxis {
 public:
  HorizontalAxis(const ChartOptions& options, const std::vector<ChartSeries>& series) : by_rank_(options.x_by_rank) {
    for (const ChartSeries& one : series) {
      for (const ChartPoint& point : one.points) values_.insert(point.x);
    }
    axis_.start = kLeft + (by_rank_ ? 18 : 0);
    axis_.end = kWidth - kRight - (by_rank_ ? 18 : 0);
    axis_.low = by_rank_ ? 0 : *values_.begin();
    axis_.high = by_rank_ ? static_cast<double>(values_.size() - 1) : *values_.rbegin();
  }

  double Place(double x) const {
    return axis_.Place(by_rank_ ? static_cast<double>(std::distance(values_.begin(), values_.find(x))) : x);
  }

  std::vector<double> Ticks() const {
    return by_rank_ ? std::vector<double>(values_.begin(), values_.end()) : LinearTicks(axis_.low, axis_.high, 5);
  }

 private:
  bool by_rank_;
  std::set<double> values_;
  Axis axis_;
};

std::string Frame(const ChartOptions& options, const HorizontalAxis& x, const Axis& y) {
  std::string svg;
  for (const double tick : y.logarithmic ? LogarithmicTicks(y.low, y.high) : LinearTicks(y.low, y.high, 4)) {
    const double place = y.Place(tick);
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>",
        kLeft, kWidth - kRight, place, place, kLeft - 6, place + 4, TickText(tick));
  }
  for (const double tick : x.Ticks()) {
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>", x.Place(tick),
                       kHeight - kBottom + 16, TickText(tick));
  }
  svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>", (kLeft + kWidth - kRight) / 2,
                     kHeight - 6, Escape(options.x_label));
  return svg;
}

std::string DrawSeries(const ChartSeries& series, size_t style, const ChartOptions& options, const HorizontalAxis& x,
                       const Axis& y) {
  std::string path, marks;
  for (const ChartPoint& point : series.points) {
    const double px = x.Place(point.x), py = y.Place(point.y);
    path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", px, py);
    if (point.low && point.high) {
      marks += fmt::format("<line class=\"line s{0}\" x1=\"{1:.1f}\" x2=\"{1:.1f}\" y1=\"{2:.1f}\" y2=\"{3:.1f}\"/>",
                           style, px, y.Place(*point.low), y.Place(*point.high));
    }
    if (!options.dots) continue;
    marks += fmt::format(
        "<circle class=\"dot f{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"><title>{}: {} at {}</title></circle>", style, px,
        py, Escape(series.name), FigureText(point.y), TickText(point.x));
  }
  return fmt::format("<path class=\"line s{} d{}\" d=\"{}\"/>{}", style, style, path, marks);
}

std::string Legend(const std::vector<ChartSeries>& series) {
  if (series.size() < 2) return "";
  std::string legend = "<div class=\"legend\">";
  for (size_t i = 0; i < series.size(); ++i) {
    legend += fmt::format(
        "<span><svg width=\"26\" height=\"10\" aria-hidden=\"true\"><path class=\"line s{0} d{0}\" d=\"M1 5L25 "
        "5\"/></svg>{1}"
        "</span> ",
        i % kStyles, Escape(series[i].name));
  }
  return legend + "</div>";
}

std::vector<ChartSeries> Drawable(const std::vector<ChartSeries>& series) {
  std::vector<ChartSeries> drawable;
  for (const ChartSeries& one : series) {
    ChartSeries& kept = drawable.emplace_back(ChartSeries{.name = one.name});
    for (const ChartPoint& point : one.points) {
      if (std::isfinite(point.x) && std::isfinite(point.y)) kept.points.push_back(point);
    }
    if (kept.points.empty()) drawable.pop_back();
  }
  return drawable;
}

}  // namespace

std::string LineChart(const ChartOptions& options, const std::vector<ChartSeries>& all) {
  const std::vector<ChartSeries> series = Drawable(all);
  const std::string caption =
      fmt::format("<figcaption>{}{}</figcaption>", Escape(options.title),
                  options.y_label.empty() ? "" : " <small>" + Escape(options.y_label) + "</small>");
  if (series.empty()) return fmt::format("<figure>{}<p>Nothing was measured.</p></figure>", caption);
  const HorizontalAxis x(options, series);
  const Axis y = VerticalAxis(options, series);
  std::string svg = Frame(options, x, y);
  for (size_t i = 0; i < series.size(); ++i) svg += DrawSeries(series[i], i % kStyles, options, x, y);
  return fmt::format(
      "<figure class=\"chart\">{}<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">{}</svg>{}</figure>\n",
      caption, kWidth, kHeight, Escape(options.title), svg, Legend(series));
}

std::string BarChart(const std::string& title, const std::string& value_name, const std::string& mark_name,
                     const std::vector<ChartBar>& bars) {
  constexpr double kRow = 26, kLabels = 116;
  double high = 0;
  for (const ChartBar& bar : bars) high = std::max({high, bar.value, bar.mark});
  const Axis x{.low = 0, .high = high * 1.02, .start = kLabels, .end = kWidth - 44};
  std::string svg;
  for (size_t i = 0; i < bars.size(); ++i) {
    const double top = static_cast<double>(i) * kRow + 4;
    const double end = x.Place(bars[i].value), mark = x.Place(bars[i].mark);
    svg += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>"
        "<rect class=\"f0\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"14\"/>"
        "<line class=\"mark\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
        "<text x=\"{:.1f}\" y=\"{:.1f}\">{:.2f}</text>",
        kLabels - 6, top + 11, Escape(bars[i].label), kLabels, top, end - kLabels, mark, mark, top - 3, top + 17,
        std::max(end, mark) + 5, top + 11, bars[i].value);
  }
  return fmt::format(
      "<figure class=\"chart\"><figcaption>{0}</figcaption><svg viewBox=\"0 0 {1} {2}\" role=\"img\" "
      "aria-label=\"{0}\">{3}</svg><div class=\"legend\"><span><svg width=\"26\" height=\"10\" aria-hidden=\"true\">"
      "<rect class=\"f0\" width=\"24\" height=\"10\"/></svg>{4}</span> <span><svg width=\"10\" height=\"14\" "
      "aria-hidden=\"true\"><path class=\"mark\" d=\"M5 0L5 14\"/></svg>{5}</span></div></figure>\n",
      Escape(title), kWidth, static_cast<double>(bars.size()) * kRow + 6, svg, Escape(value_name), Escape(mark_name));
}

}  // namespace regroup
