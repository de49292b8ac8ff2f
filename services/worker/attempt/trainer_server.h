// The TrainerService of a worker: one gRPC server on a unix socket for the ranks of all attempts, and one contact for
// each attempt, which answers its ranks.
//
// The worker owns the server. Everything here is thread-safe. A rank is identified by the secret token of its attempt,
// which it sends with every call; the socket is in a folder that only this user can enter.
#pragma once

#include <grpcpp/grpcpp.h>

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "regroup/v1/gang_service.grpc.pb.h"
#include "regroup/v1/trainer_service.grpc.pb.h"
#include "services/worker/attempt/rank_board.h"
#include "services/worker/lease.h"
#include "services/worker/logs/log_collector.h"
#include "services/worker/worker_options.h"

namespace regroup {

/// Answers the ranks of one attempt, wherever they run.
class RankContact {
 public:
  virtual ~RankContact() = default;

  /// `member` is the worker that the rank runs on, as its position in the gang. Errors are those of RankBoard.
  virtual absl::Status Attest(const v1::AttestRequest& request, int member) = 0;
  /// Returns true if the rank should exit.
  virtual absl::StatusOr<bool> Report(const v1::ReportRequest& request, int member) = 0;
  /// Returns true if training should end with a checkpoint. Rank 0, which tells the others, runs on the lead.
  virtual bool PausesTraining() const { return false; }
};

/// The contact on the worker that runs or leads the attempt: records what the ranks report.
class LocalContact : public RankContact {
 public:
  LocalContact(std::shared_ptr<RankBoard> board, std::shared_ptr<LogCollector> collector)
      : board_(std::move(board)), collector_(std::move(collector)) {}

  absl::Status Attest(const v1::AttestRequest& request, int member) override;
  absl::StatusOr<bool> Report(const v1::ReportRequest& request, int member) override;
  bool PausesTraining() const override { return board_->is_pausing(); }

 private:
  const std::shared_ptr<RankBoard> board_;
  const std::shared_ptr<LogCollector> collector_;
};

/// The contact on a helper: relays the calls to the lead.
class RelayContact : public RankContact {
 public:
  /// Connects lazily.
  static absl::StatusOr<std::shared_ptr<RankContact>> Open(const v1::Gang& gang, const WorkerOptions& options);

  RelayContact(std::shared_ptr<grpc::Channel> channel, const v1::Gang& gang);

  absl::Status Attest(const v1::AttestRequest& request, int member) override;
  absl::StatusOr<bool> Report(const v1::ReportRequest& request, int member) override;

 private:
  /// Sets the attempt's token and the deadline of the call to the lead.
  void Prepare(grpc::ClientContext& context) const;

  const std::unique_ptr<v1::GangService::Stub> stub_;
  const std::string token_;
  const int member_;
};

class TrainerServer final : private v1::TrainerService::Service {
 public:
  /// Listens on `socket`, which is replaced if it exists. Answers ranks with the end of the worker's lease; `lease`
  /// outlives the server.
  static absl::StatusOr<std::unique_ptr<TrainerServer>> Start(const std::filesystem::path& socket,
                                                              const LeaseEnd* lease);
  ~TrainerServer() override;

  const std::filesystem::path& socket() const { return socket_; }

  /// Accepts the ranks that send `token`, until Remove. The contact is shared with the calls in progress.
  void Add(const std::string& token, std::shared_ptr<RankContact> contact);
  void Remove(const std::string& token);

 private:
  TrainerServer(std::filesystem::path socket, const LeaseEnd* lease) : socket_(std::move(socket)), lease_(lease) {}

  grpc::Status Attest(grpc::ServerContext* context, const v1::AttestRequest* request,
                      v1::AttestResponse* response) override;
  grpc::Status Report(grpc::ServerContext* context, const v1::ReportRequest* request,
                      v1::ReportResponse* response) override;

  absl::StatusOr<std::shared_ptr<RankContact>> FindContact(const grpc::ServerContext& context) const;

  const std::filesystem::path socket_;
  const LeaseEnd* const lease_;
  std::unique_ptr<grpc::Server> server_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<RankContact>> contacts_;
};

}  // namespace regroup
