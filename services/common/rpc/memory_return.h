// Gives memory that large requests took back to the system. The C library keeps what was freed: without this a program
// that once served a burst stays as large as it was then.
//
// A thread looks once a second, more seldom while the program needs what it has, and acts only when the program has
// grown. Owned by the server.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

namespace regroup {

class MemoryReturn {
 public:
  MemoryReturn();
  ~MemoryReturn();
  MemoryReturn(const MemoryReturn&) = delete;
  MemoryReturn& operator=(const MemoryReturn&) = delete;

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace regroup
