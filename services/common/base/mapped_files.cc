#include "services/common/base/mapped_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>
#include <string>
#include <thread>

namespace regroup {
namespace {

/// A place that the signal's handler reads, which can take no lock.
struct Place {
  std::atomic<const char*> begin = nullptr;
  std::atomic<size_t> bytes = 0;
};

constexpr int kPlaces = 4096;
std::array<Place, kPlaces> g_places;
std::atomic<int> g_alarm = -1;

std::mutex& PathsMutex() {
  static std::mutex mutex;
  return mutex;
}

std::array<std::string, kPlaces>& Paths() {
  static std::array<std::string, kPlaces> paths;
  return paths;
}

int PlaceOf(const char* address) {
  for (int place = 0; place < kPlaces; ++place) {
    const char* const begin = g_places[place].begin.load();
    if (begin != nullptr && begin <= address && address < begin + g_places[place].bytes.load()) return place;
  }
  return -1;
}

void OnBusError(int, siginfo_t* info, void*) {
  const int place = PlaceOf(static_cast<const char*>(info->si_addr));
  if (place < 0 || write(g_alarm.load(), &place, sizeof place) != sizeof place) {
    // Not one of ours: the access is repeated and ends the process as if there were no handler.
    signal(SIGBUS, SIG_DFL);
    return;
  }
  while (true) pause();
}

}  // namespace

MappedFile::MappedFile(const char* begin, size_t bytes, const std::filesystem::path& path) : place_(-1) {
  if (bytes == 0) return;
  const std::lock_guard lock(PathsMutex());
  for (int place = 0; place < kPlaces; ++place) {
    if (g_places[place].begin.load() != nullptr) continue;
    Paths()[place] = path.string();
    g_places[place].bytes = bytes;
    g_places[place].begin = begin;
    place_ = place;
    return;
  }
}

MappedFile::~MappedFile() {
  if (place_ >= 0) g_places[place_].begin = nullptr;
}

void WatchMappedFiles(std::function<void(const absl::Status& status)> report) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return;
  g_alarm = ends[1];
  std::thread([alarm = ends[0], report = std::move(report)] {
    int place = -1;
    if (read(alarm, &place, sizeof place) != sizeof place) return;
    std::string path;
    {
      const std::lock_guard lock(PathsMutex());
      path = Paths()[place];
    }
    report(absl::DataLossError(fmt::format("{} became shorter while it was read", path)));
  }).detach();
  struct sigaction action = {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace regroup
