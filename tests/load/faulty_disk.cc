// libregroup_faulty_disk: loaded with LD_PRELOAD, it kills a program at a chosen durable write, or makes its fsync slow
// or fail. It affects only files of a store, whose path contains "/regroup.db".
//
//   REGROUP_FAULT_AT=7       kill -9 at the 7th durable write
//   REGROUP_FAULT_WHEN       before | after
//   REGROUP_FAULT_WRITES     sync: only fsync and fdatasync count; write: also every pwrite, ftruncate and unlink
//   REGROUP_FAULT_CONTROL    a file that says what syncs do from now on: "ok", "fail", or "slow MILLISECONDS"
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <string>

namespace {

std::atomic<long> durable_writes{0};

std::string Setting(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

bool IsOfStore(const char* path) { return strstr(path, "/regroup.db") != nullptr; }

bool IsOfStore(int fd) {
  char path[4096];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t length = readlink(link.c_str(), path, sizeof(path) - 1);
  if (length < 0) return false;
  path[length] = 0;
  return IsOfStore(path);
}

/// Wraps one durable write: counts it, and kills the program before or after it if it is the chosen one.
class DurableWrite {
 public:
  explicit DurableWrite(bool counts) {
    if (!counts) return;
    static const long chosen = atol(Setting("REGROUP_FAULT_AT").c_str());
    is_chosen_ = ++durable_writes == chosen;
    if (is_chosen_ && Setting("REGROUP_FAULT_WHEN") == "before") End();
  }
  ~DurableWrite() {
    if (is_chosen_) End();
  }

 private:
  static void End() {
    kill(getpid(), SIGKILL);
    // Waits for the signal to arrive; nothing may run until then.
    while (true) pause();
  }

  bool is_chosen_ = false;
};

bool CountsWrites() {
  static const bool counts = Setting("REGROUP_FAULT_WRITES") == "write";
  return counts;
}

template <typename Function>
Function Real(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

/// Follows the control file. Returns false if the sync must fail.
bool ObeyControl() {
  static const std::string control = Setting("REGROUP_FAULT_CONTROL");
  FILE* const file = control.empty() ? nullptr : fopen(control.c_str(), "r");
  if (file == nullptr) return true;
  char word[16] = "";
  int milliseconds = 0;
  const int read = fscanf(file, "%15s %d", word, &milliseconds);
  fclose(file);
  if (read == 2 && strcmp(word, "slow") == 0) usleep(static_cast<useconds_t>(milliseconds) * 1000);
  return strcmp(word, "fail") != 0;
}

int Sync(const char* name, int fd) {
  if (!IsOfStore(fd)) return Real<int (*)(int)>(name)(fd);
  const DurableWrite write(true);
  if (ObeyControl()) return Real<int (*)(int)>(name)(fd);
  errno = EIO;
  return -1;
}

}  // namespace

extern "C" {

int fsync(int fd) { return Sync("fsync", fd); }
int fdatasync(int fd) { return Sync("fdatasync", fd); }

ssize_t pwrite64(int fd, const void* bytes, size_t count, off64_t offset) {
  const DurableWrite write(CountsWrites() && IsOfStore(fd));
  return Real<ssize_t (*)(int, const void*, size_t, off64_t)>("pwrite64")(fd, bytes, count, offset);
}

int ftruncate64(int fd, off64_t length) noexcept {
  const DurableWrite write(CountsWrites() && IsOfStore(fd));
  return Real<int (*)(int, off64_t)>("ftruncate64")(fd, length);
}

int unlink(const char* path) noexcept {
  const DurableWrite write(CountsWrites() && IsOfStore(path));
  return Real<int (*)(const char*)>("unlink")(path);
}

}  // extern "C"
