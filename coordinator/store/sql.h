// Types that the SQL stores share below their tables: values, statements, rows and a connection.
//
// Statements use one syntax for all databases: parameters are $1, $2, ... and first occur in that order.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace regroup {

/// Bytes that are not text, such as a serialised message.
struct SqlBlob {
  std::string bytes;
};

/// Every integer is one of 64 bits; a string is text in UTF-8.
using SqlValue = std::variant<int64_t, std::string, SqlBlob>;

/// A statement and its values. The text must live as long as the connection: a literal, or a constant.
struct SqlCommand {
  std::string_view text;
  std::vector<SqlValue> values;
};

/// The rows of a query, one at a time.
class SqlRows {
 public:
  virtual ~SqlRows() = default;

  /// Moves to the next row, initially to the first; returns false after the last.
  virtual absl::StatusOr<bool> Next() = 0;
  virtual int64_t Integer(int column) const = 0;
  /// Returns text or a blob; valid until the next row.
  virtual std::string_view Bytes(int column) const = 0;
};

/// Not thread-safe.
class SqlConnection {
 public:
  virtual ~SqlConnection() = default;

  /// Runs a query. Destroy the rows before the connection, and before the same text is queried again.
  virtual absl::StatusOr<std::unique_ptr<SqlRows>> Query(const SqlCommand& command) = 0;
  /// Runs statements that return no rows in one durable transaction: all or nothing.
  virtual absl::Status Apply(const std::vector<SqlCommand>& commands) = 0;
};

}  // namespace regroup
