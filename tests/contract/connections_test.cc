// Attacks by connections alone, without a valid call: open many, say nothing, be slow. Over real sockets.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "services/common/rpc/status.h"
#include "tests/unit/services/common/rpc/info_service.h"
#include "tests/unit/services/common/rpc/test_certificates.h"

namespace regroup {
namespace {

constexpr std::chrono::seconds kPatience(60);

/// Connects from 127.0.0.`host`, 1 to 254.
int ConnectTo(int port, int host = 1) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  sockaddr_in own = address;
  own.sin_port = 0;
  own.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + static_cast<uint32_t>(host));
  EXPECT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&own), sizeof own), 0);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return fd;
}

/// Reads the received bytes. Returns true if the other side has closed the connection.
bool HasEnded(int fd) {
  char bytes[4096];
  while (true) {
    const ssize_t count = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (count > 0) continue;
    return count == 0 || (errno != EAGAIN && errno != EINTR);
  }
}

/// Connections of as many addresses that send nothing; closed at the end.
class SilentConnections {
 public:
  SilentConnections(int port, int count, int hosts = 1) {
    for (int i = 0; i < count; ++i) fds_.push_back(ConnectTo(port, 1 + i % hosts));
  }
  ~SilentConnections() {
    for (const int fd : fds_) close(fd);
  }

  size_t Ended() const { return static_cast<size_t>(std::count_if(fds_.begin(), fds_.end(), HasEnded)); }
  bool WaitUntilEnded(size_t count) const {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (Ended() < count) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return true;
  }

 private:
  std::vector<int> fds_;
};

/// A proxy in front of a server that delays the first bytes of each connection.
class SlowDoor {
 public:
  SlowDoor(int server_port, std::chrono::milliseconds delay) : server_port_(server_port), delay_(delay) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_, 16), 0);
    socklen_t length = sizeof address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread(&SlowDoor::Accept, this);
  }
  ~SlowDoor() {
    stopping_ = true;
    shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    for (std::thread& connection : connections_) connection.join();
    close(listener_);
  }

  int port() const { return port_; }

 private:
  void Accept() {
    while (!stopping_) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) connections_.emplace_back(&SlowDoor::Serve, this, fd);
    }
  }

  void Serve(int client) {
    const int server = ConnectTo(server_port_);
    std::this_thread::sleep_for(delay_);
    pollfd both[2] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
    bool is_open = true;
    while (is_open && !stopping_) {
      poll(both, 2, 50);
      if (both[0].revents != 0) is_open = Pass(client, server);
      if (is_open && both[1].revents != 0) is_open = Pass(server, client);
    }
    close(client);
    close(server);
  }

  static bool Pass(int from, int to) {
    char bytes[16384];
    const ssize_t count = recv(from, bytes, sizeof bytes, 0);
    return count > 0 && send(to, bytes, static_cast<size_t>(count), MSG_NOSIGNAL) == count;
  }

  const int server_port_;
  const std::chrono::milliseconds delay_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread acceptor_;
  std::vector<std::thread> connections_;
};

class ConnectionsTest : public ::testing::Test {
 protected:
  ConnectionsTest() {
    files_.Make("server");
    files_.Make("client");
    options_.address = "127.0.0.1:0";
    options_.tls = files_.Files("server");
  }

  void Serve() { server_ = RpcServer::Start(options_, {&service_}).value(); }
  std::string Address(int port) const { return "localhost:" + std::to_string(port); }

  /// Makes a call on an existing channel.
  static absl::Status CallOn(const std::shared_ptr<grpc::Channel>& channel, bool waits = false) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    context.set_wait_for_ready(waits);
    v1::ServerInfo info;
    return FromGrpc(v1::ClusterService::NewStub(channel)->GetServerInfo(&context, {}, &info));
  }

  InfoService service_;
  TestCertificates files_;
  RpcServerOptions options_;
  std::unique_ptr<RpcServer> server_;
};

TEST_F(ConnectionsTest, BeyondTheLimitTheYoungestAreEndedAndTheOldestStays) {
  options_.max_connections = 40;
  Serve();
  const auto first = OpenChannel(Address(server_->port()), files_.Identity("client")).value();
  ASSERT_TRUE(CallOn(first).ok());
  const std::string peer = service_.last_peer();
  // Half of the limit, so that the first is seen before the others.
  const SilentConnections some(server_->port(), 30);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  const SilentConnections more(server_->port(), 100);
  EXPECT_TRUE(more.WaitUntilEnded(91)) << more.Ended();
  EXPECT_EQ(some.Ended(), 0U);
  EXPECT_TRUE(CallOn(first).ok());
  EXPECT_EQ(service_.last_peer(), peer) << "the oldest connection was ended";
}

TEST_F(ConnectionsTest, WhoGoesMakesRoomForOthers) {
  options_.max_connections = 20;
  Serve();
  {
    const SilentConnections crowd(server_->port(), 60);
    EXPECT_TRUE(crowd.WaitUntilEnded(40));
  }
  EXPECT_EQ(VersionFrom(Address(server_->port()), files_.Identity("client")).value(), "test");
}

TEST_F(ConnectionsTest, HalfHandshakesOfOneAddressKeepNobodyOut) {
  options_.max_half_open_per_address = 20;
  Serve();
  const auto first = OpenChannel(Address(server_->port()), files_.Identity("client")).value();
  ASSERT_TRUE(CallOn(first).ok());
  const std::string peer = service_.last_peer();
  const SilentConnections crowd(server_->port(), 100);
  EXPECT_TRUE(crowd.WaitUntilEnded(80)) << crowd.Ended();
  EXPECT_EQ(VersionFrom(Address(server_->port()), files_.Identity("client")).value(), "test");
  EXPECT_TRUE(CallOn(first).ok());
  EXPECT_EQ(service_.last_peer(), peer) << "a connection in use was ended";
}

TEST_F(ConnectionsTest, HalfHandshakesOfManyAddressesKeepNobodyOut) {
  ASSERT_GE(RaiseOpenFileLimit(), 4096U);
  options_.handshake_timeout = std::chrono::minutes(10);
  Serve();
  const auto first = OpenChannel(Address(server_->port()), files_.Identity("client")).value();
  ASSERT_TRUE(CallOn(first).ok());
  const std::string peer = service_.last_peer();
  // Above the limit of all, 1,024, and each address below its own.
  const SilentConnections crowd(server_->port(), 1124, /*hosts=*/10);
  EXPECT_TRUE(crowd.WaitUntilEnded(100)) << crowd.Ended();
  EXPECT_EQ(VersionFrom(Address(server_->port()), files_.Identity("client")).value(), "test");
  EXPECT_TRUE(CallOn(first).ok());
  EXPECT_EQ(service_.last_peer(), peer) << "a connection in use was ended";
  EXPECT_LE(crowd.Ended(), 110U);
}

TEST(OpenFiles, AreAsManyAsTheSystemAllows) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few = {.rlim_cur = 256, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  EXPECT_EQ(RaiseOpenFileLimit(), before.rlim_max);
  setrlimit(RLIMIT_NOFILE, &before);
}

TEST_F(ConnectionsTest, WhoSaysNothingIsEnded) {
  options_.handshake_timeout = std::chrono::milliseconds(500);
  Serve();
  const SilentConnections silent(server_->port(), 5);
  EXPECT_TRUE(silent.WaitUntilEnded(5));
}

TEST_F(ConnectionsTest, ASlowHandshakeSucceeds) {
  Serve();
  // The handshake takes at least two round trips, and each attempt starts over.
  const SlowDoor door(server_->port(), std::chrono::milliseconds(2500));
  const auto channel = OpenChannel(Address(door.port()), files_.Identity("client")).value();
  const absl::Status status = CallOn(channel, true);
  EXPECT_TRUE(status.ok()) << status;
}

}  // namespace
}  // namespace regroup
