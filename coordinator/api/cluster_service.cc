#include "coordinator/api/cluster_service.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <ctime>
#include <filesystem>
#include <sstream>

#include "coordinator/api/requests.h"
#include "services/common/base/logging.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/known_words.h"
#include "services/common/rpc/status.h"

namespace regroup {
namespace {

constexpr size_t kWorkersPerPage = 100;
constexpr size_t kEntriesPerPage = 100;

/// Describes the worker without tasks of jobs that the caller may not see.
v1::Worker Describe(const v1::Worker& worker, const Caller& caller, const Turn& turn) {
  v1::Worker described = turn.cluster.Describe(worker, turn.now);
  std::vector<std::string> seen;
  for (const std::string& task : described.running_tasks()) {
    const std::optional<TaskNameParts> parts = ParseTaskName(task);
    if (parts && CheckMayUse(caller, parts->job, turn).ok()) seen.push_back(task);
  }
  described.mutable_running_tasks()->Assign(seen.begin(), seen.end());
  return described;
}

absl::StatusOr<v1::Worker> DescribeWorker(const std::string& id, const Caller& caller, const Turn& turn) {
  const v1::Worker* worker = turn.cluster.workers().Find(id);
  if (worker != nullptr) return Describe(*worker, caller, turn);
  return MakeError(absl::StatusCode::kNotFound, v1::RESOURCE_NOT_FOUND, fmt::format("there is no worker \"{}\"", id));
}

void FinishWithWorker(grpc::ServerUnaryReactor* reactor, const absl::StatusOr<v1::Worker>& worker,
                      v1::Worker* response) {
  if (worker.ok()) *response = *worker;
  reactor->Finish(ToGrpc(worker.status()));
}

/// Adds workers in the order of their names, from `position`, up to the limit and kBytesPerPage, and sets the page
/// token if more follow.
void FillPage(const Turn& turn, const Caller& caller, size_t position, size_t limit,
              v1::ListWorkersResponse* response) {
  size_t index = 0;
  size_t bytes = 0;
  for (const auto& [id, worker] : turn.cluster.workers()) {
    if (index++ < position) continue;
    if (index > position + limit || bytes >= kBytesPerPage) {
      return response->set_next_page_token(PageToken(static_cast<int64_t>(index - 1)));
    }
    *response->add_workers() = Describe(worker, caller, turn);
    bytes += response->workers().rbegin()->ByteSizeLong();
  }
}

absl::Status FillAuditPage(JobStore* store, const v1::ListAuditEntriesRequest& request,
                           v1::ListAuditEntriesResponse* response) {
  AuditQuery query{.resource = request.resource()};
  REGROUP_ASSIGN_OR_RETURN(query.before, PositionOf(request.page_token()));
  REGROUP_ASSIGN_OR_RETURN(query.limit, PageSize(request.page_size(), kEntriesPerPage));
  REGROUP_ASSIGN_OR_RETURN(AuditPage page, store->ReadAudit(query));
  response->set_next_page_token(PageToken(page.next));
  for (auto& entry : page.entries) *response->add_entries() = std::move(entry.message);
  return absl::OkStatus();
}

bool IsBackupName(const std::string& name) {
  return name.size() <= 128 && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '.'; });
}

std::string NameOfNow() { return fmt::format("regroup-{:%Y%m%dT%H%M%S}.db", fmt::gmtime(std::time(nullptr))); }

template <typename Words>
void AddWords(const Words& words, google::protobuf::RepeatedPtrField<std::string>* list) {
  for (const std::string_view word : words) list->Add(std::string(word));
}

}  // namespace

grpc::ServerUnaryReactor* ClusterService::ListWorkers(grpc::CallbackServerContext* context,
                                                      const v1::ListWorkersRequest* request,
                                                      v1::ListWorkersResponse* response) {
  const absl::StatusOr<Caller> caller = access_->Admit(*context, "ClusterService/ListWorkers");
  if (!caller.ok()) return FinishWith(context, caller.status());
  const absl::StatusOr<size_t> limit = PageSize(request->page_size(), kWorkersPerPage);
  if (!limit.ok()) return FinishWith(context, limit.status());
  const absl::StatusOr<int64_t> position = PositionOf(request->page_token());
  if (!position.ok()) return FinishWith(context, position.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  core_->Read([=, caller = *caller, limit = *limit, position = static_cast<size_t>(*position)](const Turn& turn) {
    FillPage(turn, caller, position, limit, response);
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerUnaryReactor* ClusterService::GetWorker(grpc::CallbackServerContext* context,
                                                    const v1::GetWorkerRequest* request, v1::Worker* response) {
  const auto admission = AdmitTo(access_, *context, "ClusterService/GetWorker", "workers", request->name());
  if (!admission.ok()) return FinishWith(context, admission.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  core_->Read([=, admission = *admission](const Turn& turn) {
    FinishWithWorker(reactor, DescribeWorker(admission.id, admission.caller, turn), response);
  });
  return reactor;
}

grpc::ServerUnaryReactor* ClusterService::DrainWorker(grpc::CallbackServerContext* context,
                                                      const v1::DrainWorkerRequest* request, v1::Worker* response) {
  return SetDraining(context, "ClusterService/DrainWorker", request->name(), true, response);
}

grpc::ServerUnaryReactor* ClusterService::UndrainWorker(grpc::CallbackServerContext* context,
                                                        const v1::UndrainWorkerRequest* request, v1::Worker* response) {
  return SetDraining(context, "ClusterService/UndrainWorker", request->name(), false, response);
}

grpc::ServerUnaryReactor* ClusterService::SetDraining(grpc::CallbackServerContext* context, std::string_view method,
                                                      const std::string& name, bool draining, v1::Worker* response) {
  const auto admission = AdmitTo(access_, *context, method, "workers", name);
  if (!admission.ok()) return FinishWith(context, admission.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  core_->Change(
      [=, admission = *admission](Turn& turn) {
        const absl::Status status = turn.cluster.SetDraining(admission.id, draining);
        if (status.ok()) Audit(admission.caller, admission.method, WorkerName(admission.id), &turn);
        return status;
      },
      [=, admission = *admission](const absl::Status& status, const Turn& turn) {
        if (!status.ok()) return reactor->Finish(ToGrpc(status));
        FinishWithWorker(reactor, DescribeWorker(admission.id, admission.caller, turn), response);
      });
  return reactor;
}

grpc::ServerUnaryReactor* ClusterService::GetServerInfo(grpc::CallbackServerContext* context,
                                                        const v1::GetServerInfoRequest* request,
                                                        v1::ServerInfo* response) {
  const absl::StatusOr<Caller> caller = access_->Admit(*context, "ClusterService/GetServerInfo");
  if (!caller.ok()) return FinishWith(context, caller.status());
  response->set_version(REGROUP_VERSION);
  *response->mutable_start_time() = ToProto(options_.start_time);
  std::istringstream families(REGROUP_FAMILIES);
  for (std::string family; families >> family;) response->add_families(family);
  AddWords(kAlignmentMethods, response->mutable_alignment_methods());
  AddWords(kSimilarities, response->mutable_similarities());
  return FinishWith(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* ClusterService::ListAuditEntries(grpc::CallbackServerContext* context,
                                                           const v1::ListAuditEntriesRequest* request,
                                                           v1::ListAuditEntriesResponse* response) {
  const absl::StatusOr<Caller> caller = access_->Admit(*context, "ClusterService/ListAuditEntries");
  if (!caller.ok()) return FinishWith(context, caller.status());
  return FinishWith(context, FillAuditPage(store_, *request, response));
}

grpc::ServerUnaryReactor* ClusterService::BackupStore(grpc::CallbackServerContext* context,
                                                      const v1::BackupStoreRequest* request,
                                                      v1::BackupStoreResponse* response) {
  const absl::StatusOr<Caller> caller = access_->Admit(*context, "ClusterService/BackupStore");
  if (!caller.ok()) return FinishWith(context, caller.status());
  const std::string name = request->name().empty() ? NameOfNow() : request->name();
  if (!IsBackupName(name)) {
    return FinishWith(context, InvalidFields({Violation("name", "write letters, digits, hyphens and dots")}));
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  // Who takes a copy of everything stands in the log before there is one.
  core_->Change(
      [caller = *caller, name](Turn& turn) {
        Audit(caller, "ClusterService/BackupStore", "backups/" + name, &turn);
        return absl::OkStatus();
      },
      [=, this, file = options_.backup_folder / name](const absl::Status& stored, const Turn&) {
        if (!stored.ok()) return reactor->Finish(ToGrpc(stored));
        errands_->Run([=, this] { BackUp(file, reactor, response); });
      });
  return reactor;
}

void ClusterService::BackUp(const std::filesystem::path& file, grpc::ServerUnaryReactor* reactor,
                            v1::BackupStoreResponse* response) {
  const absl::Status status = store_->Backup(file);
  if (status.ok()) {
    LogInfo("store backed up", {{"file", file.string()}});
  } else {
    LogError("the store was not backed up", {{"file", file.string()}, {"reason", std::string(status.message())}});
  }
  std::error_code ignored;
  response->set_path(file.string());
  response->set_bytes(status.ok() ? static_cast<int64_t>(std::filesystem::file_size(file, ignored)) : 0);
  reactor->Finish(ToGrpc(status));
}

}  // namespace regroup
