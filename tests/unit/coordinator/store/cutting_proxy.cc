#include "tests/unit/coordinator/store/cutting_proxy.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>

namespace regroup {
namespace {

constexpr int kPollMs = 20;

int ConnectTo(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return fd;
}

/// Returns false at the end of the connection.
bool Forward(int from, int to, std::string* seen) {
  std::array<char, 65536> buffer;
  const ssize_t size = read(from, buffer.data(), buffer.size());
  if (size <= 0) return false;
  seen->assign(buffer.data(), static_cast<size_t>(size));
  return to < 0 || send(to, buffer.data(), static_cast<size_t>(size), MSG_NOSIGNAL) == size;
}

}  // namespace

CuttingProxy::CuttingProxy(std::filesystem::path server) : server_(std::move(server)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(listen(listener_, 8), 0);
  getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread(&CuttingProxy::Accept, this);
}

CuttingProxy::~CuttingProxy() {
  stopping_ = true;
  thread_.join();
  close(listener_);
}

void CuttingProxy::CutAt(const std::string& text, Cut cut) {
  text_ = text;
  cut_ = cut;
}

/// A store makes only one connection at a time.
void CuttingProxy::Accept() {
  while (!stopping_) {
    pollfd waiting = {listener_, POLLIN, 0};
    if (poll(&waiting, 1, kPollMs) <= 0) continue;
    const int client = accept(listener_, nullptr, nullptr);
    if (admits_) PassOn(client);
    close(client);
  }
}

void CuttingProxy::PassOn(int client) {
  const int server = ConnectTo(server_);
  std::string seen;
  while (!stopping_) {
    std::array<pollfd, 2> ends = {pollfd{client, POLLIN, 0}, pollfd{server, POLLIN, 0}};
    if (poll(ends.data(), ends.size(), kPollMs) <= 0) continue;
    if (ends[1].revents != 0 && !Forward(server, client, &seen)) break;
    if (ends[0].revents == 0) continue;
    if (!Forward(client, -1, &seen)) break;
    const bool cuts = cut_ != Cut::kNever && seen.find(text_) != std::string::npos;
    if (cuts && cut_ == Cut::kBeforeTheServerHearsIt) break;
    if (send(server, seen.data(), seen.size(), MSG_NOSIGNAL) < 0) break;
    if (!cuts) continue;
    (void)Forward(server, -1, &seen);
    break;
  }
  if (cut_ != Cut::kNever && !stopping_) cut_ = Cut::kNever;
  close(server);
}

}  // namespace regroup
