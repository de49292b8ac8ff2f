// Forwards bytes between a TCP port of this machine and a unix socket, and cuts the connection when the client sends a
// given text.
#pragma once

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>

namespace regroup {

class CuttingProxy {
 public:
  enum class Cut { kNever, kBeforeTheServerHearsIt, kAfterTheServerHasAnswered };

  explicit CuttingProxy(std::filesystem::path server);
  ~CuttingProxy();

  int port() const { return port_; }
  /// Cuts the connection once, the next time the client sends `text`.
  void CutAt(const std::string& text, Cut cut);
  /// Sets whether new connections are accepted.
  void Admit(bool admits) { admits_ = admits; }

 private:
  void Accept();
  void PassOn(int client);

  const std::filesystem::path server_;
  int listener_ = -1;
  int port_ = 0;
  std::string text_;
  std::atomic<Cut> cut_ = Cut::kNever;
  std::atomic<bool> admits_ = true;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace regroup
