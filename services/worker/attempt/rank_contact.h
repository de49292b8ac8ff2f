// Whom the ranks of one attempt talk to, wherever they run. Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "regroup/v1/gang_service.grpc.pb.h"
#include "services/worker/attempt/rank_board.h"
#include "services/worker/logs/log_collector.h"
#include "services/worker/worker_options.h"

namespace regroup {

class RankContact {
 public:
  virtual ~RankContact() = default;

  /// `member` is the worker that the rank runs on, by its position in the gang. Errors are those of RankBoard.
  virtual absl::Status Attest(const v1::AttestRequest& request, int member) = 0;
  /// True if the rank should exit.
  virtual absl::StatusOr<bool> Report(const v1::ReportRequest& request, int member) = 0;
};

/// On the worker that runs or leads the attempt: writes down what the ranks say.
class LocalContact : public RankContact {
 public:
  LocalContact(std::shared_ptr<RankBoard> board, std::shared_ptr<LogCollector> collector)
      : board_(std::move(board)), collector_(std::move(collector)) {}

  absl::Status Attest(const v1::AttestRequest& request, int member) override;
  absl::StatusOr<bool> Report(const v1::ReportRequest& request, int member) override;

 private:
  const std::shared_ptr<RankBoard> board_;
  const std::shared_ptr<LogCollector> collector_;
};

/// On a helper: passes on to the lead.
class RelayContact : public RankContact {
 public:
  /// Connects lazily.
  static absl::StatusOr<std::shared_ptr<RankContact>> Open(const v1::Gang& gang, const WorkerOptions& options);

  RelayContact(std::shared_ptr<grpc::Channel> channel, const v1::Gang& gang);

  absl::Status Attest(const v1::AttestRequest& request, int member) override;
  absl::StatusOr<bool> Report(const v1::ReportRequest& request, int member) override;

 private:
  /// The attempt's token, and how long the lead may take.
  void Prepare(grpc::ClientContext& context) const;

  const std::unique_ptr<v1::GangService::Stub> stub_;
  const std::string token_;
  const int member_;
};

}  // namespace regroup
