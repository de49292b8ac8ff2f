// Reads the rows of a Parquet file with Apache Arrow's library, behind plain types.
//
// The library is in a module of its own, libregroup_parquet.so, which is loaded when the first Parquet file is read: a
// program that reads none needs neither its 62 MB nor its libraries.
//
// One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace regroup {

/// Reads `count` bytes at `offset` of the file into `buffer`. Returns an error message, empty on success.
using ReadBytesAt = std::function<std::string(uint64_t offset, char* buffer, size_t count)>;

class ParquetRows {
 public:
  /// Opens a file of `bytes` bytes. Returns null and sets `error`, which does not name the file, if it is damaged.
  using Open = ParquetRows* (*)(uint64_t bytes, ReadBytesAt read, std::string& error);

  /// Loads the module and returns its Open; null and a sentence in `error` if there is none.
  static Open Load(std::string& error);
  virtual ~ParquetRows() = default;

  /// Appends the next row to `line`, as a JSON object without a line break. Its keys are the columns in their order;
  /// columns of a type without texts or plain numbers (binary, dates, lists of numbers) are left out. Returns false at
  /// the end, and on errors, which set `error`.
  virtual bool Next(std::string& line, std::string& error) = 0;
  /// Returns the share of the rows that were read, 0 to 1.
  virtual double progress() const = 0;
};

/// The memory that the library may use for one file.
inline constexpr int64_t kMostParquetMemory = int64_t{1} << 30;

}  // namespace regroup
