// The TrainerService of a worker: one gRPC server on a unix socket for the ranks of all attempts.
//
// Owned by the worker. Thread-safe. A rank is known by the secret token of its attempt, which it sends with every call;
// the socket lies in a folder that only this user can enter.
#pragma once

#include <grpcpp/grpcpp.h>

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "regroup/v1/trainer_service.grpc.pb.h"
#include "services/worker/attempt/rank_contact.h"
#include "services/worker/lease.h"

namespace regroup {

class TrainerServer final : private v1::TrainerService::Service {
 public:
  /// Listens on `socket`, which is replaced if it exists.
  /// Ranks are told when the worker's lease ends, which outlives the server.
  static absl::StatusOr<std::unique_ptr<TrainerServer>> Start(const std::filesystem::path& socket,
                                                              const LeaseEnd* lease);
  ~TrainerServer() override;

  const std::filesystem::path& socket() const { return socket_; }

  /// Accepts the ranks that show `token`, until Remove. The contact is shared with the calls in progress.
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
