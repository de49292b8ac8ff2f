#include "coordinator/store/postgres.h"

#include <endian.h>
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <thread>

#include "services/common/base/error.h"
#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kConnectTimeoutS[] = "3";
constexpr std::chrono::milliseconds kPauseBetweenAttempts(200);
/// Time limit for determining the outcome of a transaction whose connection was lost.
constexpr std::chrono::seconds kTimeToFindOut(15);
/// Number of statements sent before their answers are read: this many answers fit into the socket's buffer.
constexpr size_t kStatementsAtOnce = 100;

std::string TrimmedMessage(const char* message) {
  std::string text = message == nullptr ? "" : message;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

bool IsOneOf(std::string_view state, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [state](std::string_view prefix) { return state.substr(0, prefix.size()) == prefix; });
}

/// A statement's values as libpq takes them: everything in binary form, so that nothing is quoted or parsed.
class Parameters {
 public:
  explicit Parameters(const std::vector<SqlValue>& values) : integers_(values.size()), texts_(values.size()) {
    for (size_t i = 0; i < values.size(); ++i) Add(values[i], i);
    formats_.assign(values.size(), 1);
  }

  int count() const { return static_cast<int>(pointers_.size()); }
  const char* const* values() const { return pointers_.data(); }
  const int* lengths() const { return lengths_.data(); }
  const int* formats() const { return formats_.data(); }

 private:
  void Add(const SqlValue& value, size_t i) {
    if (const auto* integer = std::get_if<int64_t>(&value)) {
      integers_[i] = htobe64(static_cast<uint64_t>(*integer));
      return Point(reinterpret_cast<const char*>(&integers_[i]), sizeof(uint64_t));
    }
    if (const auto* text = std::get_if<std::string>(&value)) {
      // PostgreSQL's text cannot hold zero bytes.
      texts_[i] = *text;
      std::replace(texts_[i].begin(), texts_[i].end(), '\0', '\x1a');
      return Point(texts_[i].data(), texts_[i].size());
    }
    const std::string& bytes = std::get<SqlBlob>(value).bytes;
    Point(bytes.data(), bytes.size());
  }
  void Point(const char* data, size_t size) {
    pointers_.push_back(data);
    lengths_.push_back(static_cast<int>(size));
  }

  std::vector<uint64_t> integers_;
  std::vector<std::string> texts_;
  std::vector<const char*> pointers_;
  std::vector<int> lengths_;
  std::vector<int> formats_;
};

bool IsGood(const PGresult* result) {
  const ExecStatusType status = PQresultStatus(result);
  return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_PIPELINE_SYNC;
}

absl::Status StatusOf(const PGresult* result) {
  if (IsGood(result)) return absl::OkStatus();
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const char* message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  return PostgresStatus(state, TrimmedMessage(message == nullptr ? PQresultErrorMessage(result) : message));
}

/// Returns true if the server ends the connection with this error; a transaction may then have been committed or not.
bool IsLast(const PGresult* result) {
  const char* severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
  return severity != nullptr && (std::string_view(severity) == "FATAL" || std::string_view(severity) == "PANIC");
}

absl::Status Unavailable(const std::string& why) {
  return MakeError(absl::StatusCode::kUnavailable, v1::STORE_UNAVAILABLE,
                   fmt::format("the store cannot be used: {}", why));
}

absl::Status Superseded(const std::string& why) {
  return MakeError(absl::StatusCode::kUnavailable, v1::NOT_LEADER,
                   fmt::format("this coordinator stops leading: {}", why));
}

}  // namespace

/// All rows of an answer.
class PostgresRows : public SqlRows {
 public:
  explicit PostgresRows(PostgresConnection::Result result) : result_(std::move(result)) {}

  absl::StatusOr<bool> Next() override { return ++row_ < PQntuples(result_.get()); }
  int64_t Integer(int column) const override {
    uint64_t value = 0;
    const std::string_view bytes = Bytes(column);
    if (bytes.size() == sizeof(value)) std::memcpy(&value, bytes.data(), sizeof(value));
    return static_cast<int64_t>(be64toh(value));
  }
  std::string_view Bytes(int column) const override {
    return {PQgetvalue(result_.get(), row_, column), static_cast<size_t>(PQgetlength(result_.get(), row_, column))};
  }

 private:
  PostgresConnection::Result result_;
  int row_ = -1;
};

absl::StatusOr<std::unique_ptr<PostgresConnection>> PostgresConnection::Open(const PostgresOptions& options) {
  std::unique_ptr<PostgresConnection> connection(new PostgresConnection(options));
  REGROUP_RETURN_IF_ERROR(connection->Connect());
  return connection;
}

absl::Status PostgresConnection::Connect() {
  // The later of two equal names wins, so the URL's settings override these defaults.
  const std::array<const char*, 6> names = {"connect_timeout", "tcp_user_timeout", "fallback_application_name",
                                            "client_encoding", "dbname",           nullptr};
  const std::array<const char*, 6> values = {kConnectTimeoutS,     "10000", "regroup-coordinator", "UTF8",
                                             options_.url.c_str(), nullptr};
  statements_.clear();
  connection_.reset(PQconnectdbParams(names.data(), values.data(), 1));
  if (!IsConnected()) return Lose(TrimmedMessage(PQerrorMessage(connection_.get())));
  PQsetnonblocking(connection_.get(), 1);
  PQsetNoticeProcessor(
      connection_.get(), [](void*, const char* message) { LogDebug(TrimmedMessage(message)); }, nullptr);
  return options_.session.empty() ? absl::OkStatus() : Execute(options_.session);
}

absl::Status PostgresConnection::EnsureConnected() {
  // Detects, without a query, that a restarted server has closed the connection.
  if (IsConnected() && PQconsumeInput(connection_.get()) == 1 && IsConnected()) return absl::OkStatus();
  return Connect();
}

absl::Status PostgresConnection::Lose(const std::string& why) {
  connection_.reset();
  return Unavailable(why);
}

absl::StatusOr<PostgresConnection::Result> PostgresConnection::Receive() {
  const auto deadline = Clock::now() + options_.patience;
  PGconn* const connection = connection_.get();
  while (true) {
    const int unsent = PQflush(connection);
    if (unsent < 0) return Lose(TrimmedMessage(PQerrorMessage(connection)));
    if (unsent == 0 && PQisBusy(connection) == 0) return Result(PQgetResult(connection));
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return Lose("PostgreSQL does not answer");
    pollfd socket = {PQsocket(connection), static_cast<short>(POLLIN | (unsent > 0 ? POLLOUT : 0)), 0};
    poll(&socket, 1, static_cast<int>(left.count()));
    if ((socket.revents & ~POLLOUT) == 0) continue;
    if (PQconsumeInput(connection) == 0) return Lose(TrimmedMessage(PQerrorMessage(connection)));
  }
}

absl::StatusOr<PostgresConnection::Result> PostgresConnection::ReceiveLast() {
  absl::Status status;
  Result last;
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(Result result, Receive());
    if (result == nullptr) break;
    if (IsLast(result.get())) return Lose(TrimmedMessage(PQresultErrorMessage(result.get())));
    if (status.ok()) status = StatusOf(result.get());
    last = std::move(result);
  }
  if (!IsConnected()) return Lose(std::string(status.message()));
  if (!status.ok()) return status;
  return last;
}

absl::Status PostgresConnection::Execute(const std::string& sql) {
  if (!IsConnected()) REGROUP_RETURN_IF_ERROR(Connect());
  if (PQsendQuery(connection_.get(), sql.c_str()) == 0) return Lose(TrimmedMessage(PQerrorMessage(connection_.get())));
  return ReceiveLast().status();
}

absl::Status PostgresConnection::Prepare(std::string_view text) {
  if (statements_.contains(text)) return absl::OkStatus();
  const std::string name = fmt::format("s{}", statements_.size());
  if (PQsendPrepare(connection_.get(), name.c_str(), std::string(text).c_str(), 0, nullptr) == 0) {
    return Lose(TrimmedMessage(PQerrorMessage(connection_.get())));
  }
  REGROUP_RETURN_IF_ERROR(ReceiveLast().status());
  statements_.emplace(text, name);
  return absl::OkStatus();
}

absl::Status PostgresConnection::Send(const SqlCommand& command) {
  const Parameters parameters(command.values);
  const std::string& name = statements_.find(command.text)->second;
  if (PQsendQueryPrepared(connection_.get(), name.c_str(), parameters.count(), parameters.values(),
                          parameters.lengths(), parameters.formats(), 1) == 1) {
    return absl::OkStatus();
  }
  return Lose(TrimmedMessage(PQerrorMessage(connection_.get())));
}

absl::StatusOr<PostgresConnection::Result> PostgresConnection::Run(const SqlCommand& command) {
  REGROUP_RETURN_IF_ERROR(Prepare(command.text));
  REGROUP_RETURN_IF_ERROR(Send(command));
  return ReceiveLast();
}

absl::StatusOr<std::unique_ptr<SqlRows>> PostgresConnection::Query(const SqlCommand& command) {
  REGROUP_RETURN_IF_ERROR(EnsureConnected());
  absl::StatusOr<Result> result = Run(command);
  if (!result.ok() && !IsConnected()) {
    // A query only reads, so it may be repeated.
    REGROUP_RETURN_IF_ERROR(Connect());
    result = Run(command);
  }
  if (!result.ok()) return result.status();
  return std::make_unique<PostgresRows>(*std::move(result));
}

// Transactions.

absl::Status PostgresConnection::Apply(const std::vector<SqlCommand>& commands) {
  return Transact(
      [&]() -> absl::Status {
        for (const SqlCommand& command : commands) REGROUP_RETURN_IF_ERROR(Prepare(command.text));
        return absl::OkStatus();
      },
      [&] { return RunAll(commands); });
}

absl::Status PostgresConnection::ApplyScript(const std::string& sql) {
  return Transact([] { return absl::OkStatus(); }, [&] { return Execute(sql); });
}

absl::Status PostgresConnection::Transact(const Step& prepare, const Step& body) {
  absl::Status status;
  for (int attempt = 0; attempt < 2; ++attempt) {
    REGROUP_RETURN_IF_ERROR(EnsureConnected());
    bool is_complete = false;
    status = prepare();
    if (status.ok()) status = TryToTransact(body, &is_complete);
    if (status.ok() || is_complete) return status;
    // Retry once if the server closed the connection before it was asked to commit, as a restarting server does; any
    // other error is final.
    if (IsConnected()) break;
  }
  return status;
}

absl::Status PostgresConnection::TryToTransact(const Step& body, bool* is_complete) {
  if (guard_) REGROUP_RETURN_IF_ERROR(Prepare(guard_->enter.text));
  const absl::StatusOr<int64_t> number = Begin();
  absl::Status status = number.ok() ? body() : number.status();
  *is_complete = status.ok();
  if (status.ok()) status = Commit();
  if (status.ok()) return status;
  if (!IsConnected()) return *is_complete ? FindOut(*number, status) : status;
  if (!Execute("ROLLBACK").ok()) connection_.reset();
  *is_complete = true;
  return status;
}

absl::StatusOr<int64_t> PostgresConnection::Begin() {
  REGROUP_RETURN_IF_ERROR(Execute("BEGIN"));
  if (!guard_) return 0;
  REGROUP_ASSIGN_OR_RETURN(Result result, Run(guard_->enter));
  PostgresRows rows(std::move(result));
  REGROUP_ASSIGN_OR_RETURN(const bool may_go_on, rows.Next());
  if (may_go_on) return rows.Integer(0);
  return Superseded("another coordinator leads now");
}

absl::Status PostgresConnection::RunAll(const std::vector<SqlCommand>& commands) {
  for (size_t first = 0; first < commands.size(); first += kStatementsAtOnce) {
    PQenterPipelineMode(connection_.get());
    const size_t count = std::min(kStatementsAtOnce, commands.size() - first);
    for (size_t i = first; i < first + count; ++i) REGROUP_RETURN_IF_ERROR(Send(commands[i]));
    PQpipelineSync(connection_.get());
    REGROUP_RETURN_IF_ERROR(ReceivePipeline(count));
  }
  return absl::OkStatus();
}

absl::Status PostgresConnection::Commit() {
  if (PQsendQuery(connection_.get(), "COMMIT") == 0) return Lose(TrimmedMessage(PQerrorMessage(connection_.get())));
  REGROUP_ASSIGN_OR_RETURN(const Result result, ReceiveLast());
  // For a failed transaction the server answers COMMIT with ROLLBACK and no error.
  if (std::string_view(PQcmdStatus(result.get())) == "COMMIT") return absl::OkStatus();
  return absl::InternalError("store: the transaction was rolled back");
}

absl::Status PostgresConnection::ReceivePipeline(size_t commands) {
  absl::Status status;
  // Each statement's results end with a null; the synchronisation's do not.
  for (size_t ended = 0; ended <= commands;) {
    REGROUP_ASSIGN_OR_RETURN(const Result result, Receive());
    if (result == nullptr) {
      ++ended;
    } else if (IsLast(result.get())) {
      return Lose(TrimmedMessage(PQresultErrorMessage(result.get())));
    } else if (PQresultStatus(result.get()) == PGRES_PIPELINE_SYNC) {
      break;
    } else if (status.ok() && PQresultStatus(result.get()) != PGRES_PIPELINE_ABORTED) {
      status = StatusOf(result.get());
    }
  }
  if (!IsConnected()) return Lose(std::string(status.message()));
  if (PQexitPipelineMode(connection_.get()) == 0) return Lose(TrimmedMessage(PQerrorMessage(connection_.get())));
  return status;
}

absl::Status PostgresConnection::FindOut(int64_t number, const absl::Status& lost) {
  const auto deadline = Clock::now() + kTimeToFindOut;
  while (guard_ && Clock::now() < deadline) {
    const absl::StatusOr<std::unique_ptr<SqlRows>> rows = Query(guard_->look);
    const absl::StatusOr<bool> found = rows.ok() ? (*rows)->Next() : rows.status();
    if (found.ok() && !*found) return Superseded("another coordinator leads now");
    if (found.ok()) return (*rows)->Integer(0) == number ? absl::OkStatus() : lost;
    std::this_thread::sleep_for(kPauseBetweenAttempts);
  }
  return Superseded(fmt::format("could not determine whether the commit succeeded: {}", std::string(lost.message())));
}

std::string PostgresConnection::Parameter(const char* name) const {
  const char* value = PQparameterStatus(connection_.get(), name);
  return value == nullptr ? "" : value;
}

bool PostgresConnection::IsExposed() const {
  const std::string_view host = PQhost(connection_.get());
  const bool is_local =
      host.empty() || host.front() == '/' || host == "localhost" || host == "::1" || host.substr(0, 4) == "127.";
  return !is_local && PQsslInUse(connection_.get()) == 0;
}

absl::Status PostgresStatus(const char* sql_state, const std::string& message) {
  const std::string_view state = sql_state == nullptr ? "08006" : sql_state;
  // Connection lost, resources such as a full disk, server failures, read-only server, locks and time limits.
  if (IsOneOf(state, {"08", "53", "57", "58", "25006", "25P03", "40001", "40P01", "55P03"})) {
    return Unavailable(message);
  }
  return absl::InternalError(fmt::format("store: {} ({})", message, state));
}

}  // namespace regroup
