#include "services/common/metrics/metrics.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace regroup {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// Connects and sends the text; gives up reading after 25 s.
int SendTo(int port, const std::string& text) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const timeval patience = {.tv_sec = 25, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  return fd;
}

/// Returns the response that a plain HTTP client gets from the port.
std::string HttpGet(int port, const std::string& path) {
  const int fd = SendTo(port, "GET " + path + " HTTP/1.0\r\nHost: localhost\r\n\r\n");
  std::string response;
  char buffer[4096];
  for (ssize_t count = 0; (count = read(fd, buffer, sizeof buffer)) > 0;) response.append(buffer, count);
  close(fd);
  return response;
}

TEST(Metrics, CountsSetsAndObserves) {
  Metrics metrics;
  metrics.DescribeCounter("tasks_total", "Tasks.");
  metrics.DescribeGauge("loss", "Loss.");
  metrics.DescribeHistogram("wait_seconds", "Wait.", {1, 10});
  metrics.Count("tasks_total", {{"kind", "align"}});
  metrics.Count("tasks_total", {{"kind", "align"}}, 2);
  metrics.Set("loss", 2.5, {{"job", "a"}});
  metrics.Observe("wait_seconds", 5);
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("# HELP regroup_tasks_total Tasks."));
  EXPECT_THAT(text, HasSubstr("regroup_tasks_total{kind=\"align\"} 3"));
  EXPECT_THAT(text, HasSubstr("regroup_loss{job=\"a\"} 2.5"));
  EXPECT_THAT(text, HasSubstr("regroup_wait_seconds_bucket{le=\"1\"} 0"));
  EXPECT_THAT(text, HasSubstr("regroup_wait_seconds_bucket{le=\"10\"} 1"));
}

TEST(Metrics, ShowsAnExpectedHistogramBeforeItsFirstValue) {
  Metrics metrics;
  metrics.DescribeHistogram("wait_seconds", "Wait.", {1});
  metrics.Expect("wait_seconds", {{"kind", "align"}});
  metrics.Expect("unknown_seconds");
  EXPECT_THAT(metrics.Text(), HasSubstr("regroup_wait_seconds_count{kind=\"align\"} 0"));
  metrics.Observe("wait_seconds", 2, {{"kind", "align"}});
  EXPECT_THAT(metrics.Text(), HasSubstr("regroup_wait_seconds_count{kind=\"align\"} 1"));
}

TEST(Metrics, ForgetsTheSeriesOfWhatHasEnded) {
  Metrics metrics;
  metrics.DescribeGauge("loss", "Loss.");
  metrics.Set("loss", 1, {{"job", "a"}});
  metrics.Set("loss", 2, {{"job", "b"}});
  metrics.Forget("loss", {{"job", "a"}});
  metrics.Forget("loss", {{"job", "never set"}});
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("job=\"a\"")));
  EXPECT_THAT(metrics.Text(), HasSubstr("job=\"b\""));
}

TEST(Metrics, IgnoresNamesThatWereNotDescribed) {
  Metrics metrics;
  metrics.Count("unknown_total");
  metrics.Set("unknown", 1);
  metrics.Observe("unknown_seconds", 1);
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("unknown")));
}

TEST(Metrics, AreServedOverHttpWithThoseOfTheProcess) {
  Metrics metrics;
  metrics.DescribeGauge("loss", "Loss.");
  metrics.Set("loss", 2.5);
  const absl::StatusOr<int> port = metrics.Serve("127.0.0.1:0");
  ASSERT_TRUE(port.ok()) << port.status();
  const std::string page = HttpGet(*port, "/metrics");
  EXPECT_THAT(page, HasSubstr("200 OK"));
  EXPECT_THAT(page, HasSubstr("regroup_loss 2.5"));
  EXPECT_THAT(page, ::testing::ContainsRegex("process_resident_memory_bytes [1-9]"));
}

TEST(Metrics, AreServedWhileRequestsAreLeftHalfDone) {
  Metrics metrics;
  const int port = metrics.Serve("127.0.0.1:0").value();
  std::vector<int> half;
  for (int i = 0; i < 60; ++i) half.push_back(SendTo(port, "GET /metrics HTTP/1.1\r\nX: "));
  EXPECT_THAT(HttpGet(port, "/metrics"), HasSubstr("200 OK"));
  for (const int fd : half) close(fd);
}

TEST(Metrics, NameAnAddressThatIsTaken) {
  Metrics first;
  Metrics second;
  const int port = first.Serve("127.0.0.1:0").value();
  const std::string address = "127.0.0.1:" + std::to_string(port);
  const absl::Status status = second.Serve(address).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(address));
}

}  // namespace
}  // namespace regroup
