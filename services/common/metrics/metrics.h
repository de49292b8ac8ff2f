// Metrics of one program, scraped by Prometheus over HTTP. Names get the prefix "regroup_".
//
// Every name is described once before its first use; using another is a defect of the caller and is ignored. All
// functions may be called from any thread.
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
  /// With the standard metrics of this process: CPU time, memory, open files, start time.
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
  /// Shows a histogram's series before its first value: Prometheus takes the first page that has it for its beginning,
  /// so values counted by then would be lost to rates.
  void Expect(const std::string& histogram, const MetricLabels& labels = {});
  /// Removes one series of a gauge, for example that of a job that has ended.
  void Forget(const std::string& name, const MetricLabels& labels);

  /// Serves http://address/metrics until destruction. `address`: "host:port"; port 0 takes a free one. UNAVAILABLE
  /// naming the address if it cannot be had. Returns the port.
  absl::StatusOr<int> Serve(const std::string& address);

  /// What a scrape returns, in the text format.
  std::string Text() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// Upper bounds of buckets for durations from a millisecond to hours, in seconds.
std::vector<double> DurationBounds();

}  // namespace regroup
