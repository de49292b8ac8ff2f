#include "services/common/metrics/metrics.h"

#include <dirent.h>
#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <mutex>

#include "services/common/base/network_address.h"
#include "services/common/base/process_memory.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

/// Each request holds a thread until it is whole or its time is over, so that half requests only delay a scrape.
constexpr char kThreads[] = "32";
constexpr char kRequestTimeoutMs[] = "1000";

std::string Prefixed(const std::string& name) { return "regroup_" + name; }

prometheus::MetricFamily Single(const std::string& name, const std::string& help, prometheus::MetricType type,
                                double value) {
  prometheus::MetricFamily family{name, help, type, {}};
  prometheus::ClientMetric metric;
  metric.gauge.value = value;
  metric.counter.value = value;
  family.metric.push_back(metric);
  return family;
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) { return static_cast<double>(time.tv_sec) + 1e-6 * time.tv_usec; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double MostOpenFiles() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<double>(limit.rlim_cur) : 0;
}

double OpenFiles() {
  // The entries include ".", ".." and the descriptor opened for counting.
  int entries = -3;
  if (DIR* folder = opendir("/proc/self/fd")) {
    while (readdir(folder) != nullptr) ++entries;
    closedir(folder);
  }
  return entries < 0 ? 0 : entries;
}

/// The metrics that Prometheus expects of every process, under their standard names.
class ProcessMetrics : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    using prometheus::MetricType;
    const ProcessMemory memory = MemoryInUse();
    return {Single("process_cpu_seconds_total", "CPU time used.", MetricType::Counter, CpuSeconds()),
            Single("process_resident_memory_bytes", "Memory in use.", MetricType::Gauge,
                   static_cast<double>(memory.resident)),
            Single("process_virtual_memory_bytes", "Address space in use.", MetricType::Gauge,
                   static_cast<double>(memory.virtual_size)),
            Single("process_max_fds", "Maximum number of open files and sockets.", MetricType::Gauge, MostOpenFiles()),
            Single("process_open_fds", "Open files and sockets.", MetricType::Gauge, OpenFiles()),
            Single("process_start_time_seconds", "Start, in seconds since 1970.", MetricType::Gauge, start_time_)};
  }

 private:
  const double start_time_ = static_cast<double>(std::time(nullptr));
};

}  // namespace

struct Metrics::Implementation {
  struct HistogramFamily {
    prometheus::Family<prometheus::Histogram>* family;
    std::vector<double> bounds;
  };

  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  std::shared_ptr<ProcessMetrics> process = std::make_shared<ProcessMetrics>();
  std::mutex mutex;
  std::map<std::string, prometheus::Family<prometheus::Counter>*> counters;
  std::map<std::string, prometheus::Family<prometheus::Gauge>*> gauges;
  std::map<std::string, HistogramFamily> histograms;
  std::map<std::pair<std::string, MetricLabels>, prometheus::Gauge*> gauge_series;
  // Declared last, so that scraping stops first.
  std::unique_ptr<prometheus::Exposer> exposer;
};

Metrics::Metrics() : implementation_(std::make_unique<Implementation>()) {}
Metrics::~Metrics() = default;

void Metrics::DescribeCounter(const std::string& name, const std::string& help) {
  std::lock_guard lock(implementation_->mutex);
  implementation_->counters[name] =
      &prometheus::BuildCounter().Name(Prefixed(name)).Help(help).Register(*implementation_->registry);
}

void Metrics::DescribeGauge(const std::string& name, const std::string& help) {
  std::lock_guard lock(implementation_->mutex);
  implementation_->gauges[name] =
      &prometheus::BuildGauge().Name(Prefixed(name)).Help(help).Register(*implementation_->registry);
}

void Metrics::DescribeHistogram(const std::string& name, const std::string& help, std::vector<double> bounds) {
  std::lock_guard lock(implementation_->mutex);
  auto& family = prometheus::BuildHistogram().Name(Prefixed(name)).Help(help).Register(*implementation_->registry);
  implementation_->histograms[name] = {&family, std::move(bounds)};
}

void Metrics::Count(const std::string& name, const MetricLabels& labels, double amount) {
  std::lock_guard lock(implementation_->mutex);
  const auto found = implementation_->counters.find(name);
  if (found != implementation_->counters.end()) found->second->Add(labels).Increment(amount);
}

void Metrics::Set(const std::string& name, double value, const MetricLabels& labels) {
  std::lock_guard lock(implementation_->mutex);
  const auto found = implementation_->gauges.find(name);
  if (found == implementation_->gauges.end()) return;
  prometheus::Gauge& gauge = found->second->Add(labels);
  gauge.Set(value);
  implementation_->gauge_series[{name, labels}] = &gauge;
}

void Metrics::Observe(const std::string& name, double value, const MetricLabels& labels) {
  std::lock_guard lock(implementation_->mutex);
  const auto found = implementation_->histograms.find(name);
  if (found != implementation_->histograms.end()) {
    found->second.family->Add(labels, found->second.bounds).Observe(value);
  }
}

void Metrics::Expect(const std::string& histogram, const MetricLabels& labels) {
  std::lock_guard lock(implementation_->mutex);
  const auto found = implementation_->histograms.find(histogram);
  if (found != implementation_->histograms.end()) found->second.family->Add(labels, found->second.bounds);
}

void Metrics::Forget(const std::string& name, const MetricLabels& labels) {
  std::lock_guard lock(implementation_->mutex);
  const auto found = implementation_->gauge_series.find({name, labels});
  if (found == implementation_->gauge_series.end()) return;
  implementation_->gauges.at(name)->Remove(found->second);
  implementation_->gauge_series.erase(found);
}

absl::StatusOr<int> Metrics::Serve(const std::string& address) {
  REGROUP_RETURN_IF_ERROR(CheckAddress(address, /*lowest_port=*/0));
  try {
    auto exposer = std::make_unique<prometheus::Exposer>(std::vector<std::string>{
        "listening_ports", address, "num_threads", kThreads, "request_timeout_ms", kRequestTimeoutMs});
    exposer->RegisterCollectable(implementation_->registry);
    exposer->RegisterCollectable(implementation_->process);
    const int port = exposer->GetListeningPorts().at(0);
    implementation_->exposer = std::move(exposer);
    return port;
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        fmt::format("cannot serve metrics on {}: {}; is the port taken?", address, error.what()));
  }
}

std::string Metrics::Text() const {
  std::vector<prometheus::MetricFamily> families = implementation_->registry->Collect();
  for (prometheus::MetricFamily& family : implementation_->process->Collect()) families.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(families);
}

std::vector<double> DurationBounds() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200};
}

}  // namespace regroup
