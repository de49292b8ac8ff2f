// Metrics of one program, scraped by Prometheus over HTTP. Names get the prefix "regroup_".
//
// Describe every name once before its first use; using an undescribed name is a defect of the caller and is ignored.
// All functions may be called from any thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace regroup {

using MetricLabels = std::map<std::string, std::string>;

class Metrics {
 public:
  /// Creates the standard metrics of this process: CPU time, memory, open files, start time.
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  void DescribeCounter(const std::string& name, const std::string& help);
  void DescribeGauge(const std::string& name, const std::string& help);
  /// `bounds`: upper bounds of the buckets, ascending.
  void DescribeHistogram(const std::string& name, const std::string& help, std::vector<double> bounds);

  void Count(const std::string& name, const MetricLabels& labels = {}, double amount = 1);
  void Set(const std::string& name, double value, const MetricLabels& labels = {});
  void Observe(const std::string& name, double value, const MetricLabels& labels = {});
  /// Exposes a histogram's series before its first value. Prometheus treats a series as starting with the first page
  /// that contains it, so rates would miss the values counted by then.
  void Expect(const std::string& histogram, const MetricLabels& labels = {});
  /// Removes one series of a gauge, for example that of a job that has ended.
  void Forget(const std::string& name, const MetricLabels& labels);

  /// Serves http://address/metrics until destruction. `address` is "host:port"; port 0 picks a free one. Returns the
  /// port. UNAVAILABLE names an address that is not available.
  absl::StatusOr<int> Serve(const std::string& address);

  /// Returns the page that a scrape gets, in the text format.
  std::string Text() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// Returns upper bounds, in seconds, of buckets for durations from a millisecond to hours.
std::vector<double> DurationBounds();

}  // namespace regroup
