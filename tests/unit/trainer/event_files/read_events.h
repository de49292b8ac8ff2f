// Reads event files back, for tests.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "trainer/event_files/event.pb.h"

namespace regroup {

/// Returns the events of a file, whose checksums are not looked at: tests/integration/tensorboard_test.py has
/// TensorBoard do that.
inline std::vector<tensorboard::Event> ReadEvents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string content((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::vector<tensorboard::Event> events;
  for (size_t place = 0; place + 12 <= content.size();) {
    uint64_t length = 0;
    std::memcpy(&length, content.data() + place, sizeof(length));
    events.emplace_back();
    if (!events.back().ParseFromString(content.substr(place + 12, length))) return {};
    place += 12 + length + 4;
  }
  return events;
}

}  // namespace regroup
