// A thin wrapper of libpq: what a store needs, with errors as absl::Status and a deadline for every answer. It contains
// no SQL of the store.
//
// A lost connection is reopened by the next call. A transaction whose connection was lost may have been committed or
// not: Apply determines which, or reports that it could not.
#pragma once

#include <libpq-fe.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/store/sql.h"

namespace regroup {

struct PostgresOptions {
  /// postgresql://... or keywords, in libpq's syntax. Settings that it lacks come from the environment and from
  /// ~/.pgpass, as usual with libpq.
  std::string url;
  /// Statements that every new connection begins with.
  std::string session;
  /// Time to wait for an answer before the connection is given up.
  std::chrono::milliseconds patience{10000};
};

/// Fencing check: the first statement of every transaction. It must return one row with one number, else the
/// transaction is not run; afterwards the number tells whether the transaction committed.
struct PostgresGuard {
  SqlCommand enter;
  /// Waits for a transaction with this guard that is still in progress, and returns the same number if it committed.
  SqlCommand look;
};

class PostgresConnection : public SqlConnection {
 public:
  /// Connects. UNAVAILABLE if no server answers or it rejects the login.
  static absl::StatusOr<std::unique_ptr<PostgresConnection>> Open(const PostgresOptions& options);

  /// Guards every Apply from now on.
  void SetGuard(PostgresGuard guard) { guard_ = std::move(guard); }

  /// Runs statements and discards their results; several are one transaction.
  absl::Status Execute(const std::string& sql);

  absl::StatusOr<std::unique_ptr<SqlRows>> Query(const SqlCommand& command) override;

  /// Runs the commands in one transaction. UNAVAILABLE (STORE_UNAVAILABLE): nothing was committed. UNAVAILABLE
  /// (NOT_LEADER): the guard rejected it, or it could not be determined whether it committed; the caller must then
  /// assume neither.
  absl::Status Apply(const std::vector<SqlCommand>& commands) override;
  /// Like Apply, for statements without values, separated by semicolons.
  absl::Status ApplyScript(const std::string& sql);

  /// Returns the server's version, 150004 for 15.4; 0 if the connection is lost.
  int server_version() const { return PQserverVersion(connection_.get()); }
  /// Returns a setting that the server reports, such as server_encoding.
  std::string Parameter(const char* name) const;
  /// Returns true if the connection to another machine is not encrypted.
  bool IsExposed() const;

 private:
  struct Finish {
    void operator()(PGconn* connection) const { PQfinish(connection); }
  };
  struct Clear {
    void operator()(PGresult* result) const { PQclear(result); }
  };
  friend class PostgresRows;
  using Result = std::unique_ptr<PGresult, Clear>;

  explicit PostgresConnection(PostgresOptions options) : options_(std::move(options)) {}

  bool IsConnected() const { return connection_ != nullptr && PQstatus(connection_.get()) == CONNECTION_OK; }
  absl::Status Connect();
  absl::Status EnsureConnected();
  /// Drops the connection, so that the next call opens a new one.
  absl::Status Lose(const std::string& why);

  /// Returns the next result of the statements sent; nothing if there are no more.
  absl::StatusOr<Result> Receive();
  /// Returns the only or last result of a statement sent.
  absl::StatusOr<Result> ReceiveLast();
  absl::Status Prepare(std::string_view text);
  absl::Status Send(const SqlCommand& command);
  absl::StatusOr<Result> Run(const SqlCommand& command);
  using Step = std::function<absl::Status()>;
  /// Runs a transaction. `prepare` runs outside of it, because after a failed transaction it would be unknown which
  /// statements the server has prepared; `body` sends the statements between BEGIN with the guard and COMMIT.
  absl::Status Transact(const Step& prepare, const Step& body);
  /// Sets `is_complete` if the status is final and the transaction must not be retried.
  absl::Status TryToTransact(const Step& body, bool* is_complete);
  absl::StatusOr<int64_t> Begin();
  absl::Status Commit();
  /// Sends statements without waiting for each answer.
  absl::Status RunAll(const std::vector<SqlCommand>& commands);
  absl::Status ReceivePipeline(size_t commands);
  /// Determines whether the transaction with this number of the guard was committed.
  absl::Status FindOut(int64_t number, const absl::Status& lost);

  const PostgresOptions options_;
  std::optional<PostgresGuard> guard_;
  std::unique_ptr<PGconn, Finish> connection_;
  /// Names of the statements prepared on this connection, by their text.
  std::map<std::string, std::string, std::less<>> statements_;
};

/// Returns UNAVAILABLE (STORE_UNAVAILABLE) if the server or its medium is at fault, otherwise INTERNAL.
absl::Status PostgresStatus(const char* sql_state, const std::string& message);

}  // namespace regroup
