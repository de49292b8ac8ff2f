// The little of libpq that a store needs, with its errors as absl::Status and a deadline for every answer. No SQL of
// the store is written here.
//
// A connection that is lost is opened again by the next call. What is lost in a transaction may have been committed or
// not: Apply finds out, or says that it could not.
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
  /// postgresql://..., or keywords, as libpq takes them. What it does not name comes from the environment and from
  /// ~/.pgpass, as everywhere with libpq.
  std::string url;
  /// Statements that every new connection begins with.
  std::string session;
  /// How long to wait for an answer before the connection is given up.
  std::chrono::milliseconds patience{10000};
};

/// What makes a transaction one of those that may happen, and shows afterwards whether it did. It runs as the first
/// statement and must return one row with one number, else the transaction is not made.
struct PostgresGuard {
  SqlCommand enter;
  /// Waits for a transaction with this guard that is still on its way, and returns the same number if it was committed.
  SqlCommand look;
};

class PostgresConnection : public SqlConnection {
 public:
  /// Connects. UNAVAILABLE where no server answers or it refuses to let us in.
  static absl::StatusOr<std::unique_ptr<PostgresConnection>> Open(const PostgresOptions& options);

  /// From now on every Apply is guarded.
  void SetGuard(PostgresGuard guard) { guard_ = std::move(guard); }

  /// Runs statements that return nothing of interest; several are one transaction.
  absl::Status Execute(const std::string& sql);

  absl::StatusOr<std::unique_ptr<SqlRows>> Query(const SqlCommand& command) override;

  /// UNAVAILABLE (STORE_UNAVAILABLE): nothing of it has happened. UNAVAILABLE (NOT_LEADER): the guard refused it, or
  /// whether it has happened could not be found out, and nobody may go on as if it were known.
  absl::Status Apply(const std::vector<SqlCommand>& commands) override;
  /// The same for statements without values, separated by semicolons.
  absl::Status ApplyScript(const std::string& sql);

  /// The server's version as 150004 for 15.4; 0 where the connection is lost.
  int server_version() const { return PQserverVersion(connection_.get()); }
  /// A setting that the server reports, such as server_encoding.
  std::string Parameter(const char* name) const;
  /// Whether what is sent can be read on the way: no TLS to another machine.
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
  /// Forgets the connection, so that the next call opens one.
  absl::Status Lose(const std::string& why);

  /// The next result of what was sent; nothing where there are no more.
  absl::StatusOr<Result> Receive();
  /// The only or last result of a statement that was sent.
  absl::StatusOr<Result> ReceiveLast();
  absl::Status Prepare(std::string_view text);
  absl::Status Send(const SqlCommand& command);
  absl::StatusOr<Result> Run(const SqlCommand& command);
  using Step = std::function<absl::Status()>;
  /// `prepare` is outside of the transaction, since a failed one would leave open which statements the server knows;
  /// `body` sends what is between BEGIN with the guard and COMMIT.
  absl::Status Transact(const Step& prepare, const Step& body);
  /// `is_complete`: the status is the last word, and the transaction must not be tried again.
  absl::Status TryToTransact(const Step& body, bool* is_complete);
  absl::StatusOr<int64_t> Begin();
  absl::Status Commit();
  /// Sends statements without waiting for each one's answer.
  absl::Status RunAll(const std::vector<SqlCommand>& commands);
  absl::Status ReceivePipeline(size_t commands);
  /// Whether the transaction that the guard gave the number was committed.
  absl::Status FindOut(int64_t number, const absl::Status& lost);

  const PostgresOptions options_;
  std::optional<PostgresGuard> guard_;
  std::unique_ptr<PGconn, Finish> connection_;
  /// Names of the statements that this connection knows.
  std::map<std::string, std::string, std::less<>> statements_;
};

/// UNAVAILABLE (STORE_UNAVAILABLE) where the server or its medium is at fault, otherwise INTERNAL.
absl::Status PostgresStatus(const char* sql_state, const std::string& message);

}  // namespace regroup
