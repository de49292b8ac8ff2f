// Decoders of the data files that are not plain text: each yields JSON Lines. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "trainer/data/stored_bytes.h"

namespace regroup {

class DataDecoder {
 public:
  virtual ~DataDecoder() = default;
  /// Decodes up to `count` bytes, more than 0, into `buffer`, and returns how many; 0 at the end of the file.
  virtual absl::StatusOr<size_t> Decode(StoredBytes& stored, char* buffer, size_t count) = 0;
  /// Returns how many stored bytes what was decoded so far stands for.
  virtual uint64_t bytes_used(const StoredBytes& stored) const { return stored.bytes_read(); }
};

/// Returns the decoder for a file that starts with these bytes, at least 512 if it has as many; null for plain text.
std::unique_ptr<DataDecoder> MakeDataDecoder(std::string_view start);

}  // namespace regroup
