// Decodes a Parquet file to JSON Lines: each row is a line, whose fields are the columns (ParquetRows::Next).
//
// The file is read twice: at first as a whole, for its digest, since Parquet begins at the end; then piece by piece,
// each compared with what was read at first. Holds what Arrow needs for a few rows, at most kMostParquetMemory. Errors:
// INVALID_ARGUMENT if this build reads no Parquet; DATA_LOSS for a file that is damaged, or that changes meanwhile.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "trainer/data/data_decoder.h"
#include "trainer/data/parquet/checked_file.h"
#include "trainer/data/parquet/parquet_rows.h"

namespace regroup {

class ParquetDecoder final : public DataDecoder {
 public:
  absl::StatusOr<size_t> Decode(StoredBytes& stored, char* buffer, size_t count) override;
  uint64_t bytes_used(const StoredBytes& stored) const override;

 private:
  absl::Status Open(StoredBytes& stored);
  absl::Status ReadRow(const StoredBytes& stored);
  /// Returns why the library failed: what the file itself answered, if it did, comes first.
  absl::Status Failed(const StoredBytes& stored, const std::string& error) const;

  std::optional<CheckedFile> file_;
  /// The last error of file_.
  absl::Status file_error_;
  std::unique_ptr<ParquetRows> rows_;
  std::string line_;
  size_t used_ = 0;
};

}  // namespace regroup
