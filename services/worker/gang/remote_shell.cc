#include "services/worker/gang/remote_shell.h"

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <optional>
#include <thread>

#include "regroup/v1/gang_service.grpc.pb.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/status.h"
#include "services/common/rpc/worker_channel.h"
#include "services/worker/gang/gang_protocol.h"

namespace regroup {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPauseBeforeRetry{200};
/// The exit status of a killed program is this plus the signal's number, as in a shell.
constexpr int kSignalBase = 128;

/// A call to one member of the gang.
class DaemonCall {
 public:
  DaemonCall(const v1::GangCall& call, const v1::GangMember& member, v1::GangService::Stub* stub)
      : call_(call), member_(member), stub_(stub) {}

  int Run(const v1::RunDaemonRequest& request) {
    const auto deadline =
        Clock::now() +
        std::chrono::milliseconds(google::protobuf::util::TimeUtil::DurationToMilliseconds(call_.join_patience()));
    while (true) {
      const absl::Status status = Try(request);
      if (exit_) return ReportExit();
      // The helper may not have its assignment yet, or be unreachable for a moment.
      const bool may_come = absl::IsNotFound(status) || absl::IsUnavailable(status);
      if (has_joined_) return Fail(fmt::format("was lost: {}", std::string(status.message())));
      if (!may_come || Clock::now() > deadline) {
        return Fail(fmt::format("did not join the gang: {}", std::string(status.message())));
      }
      std::this_thread::sleep_for(kPauseBeforeRetry);
    }
  }

 private:
  absl::Status Try(const v1::RunDaemonRequest& request) {
    grpc::ClientContext context;
    context.AddMetadata(kAttemptTokenKey, call_.gang().token());
    const auto reader = stub_->RunDaemon(&context, request);
    for (v1::RunDaemonResponse event; reader->Read(&event);) {
      has_joined_ = true;
      if (event.has_exit()) exit_ = event.exit();
      if (event.has_line()) std::cerr << event.line() << std::endl;
    }
    return FromGrpc(reader->Finish());
  }

  int ReportExit() const {
    if (!exit_->reason().empty()) return Fail(fmt::format("ended its part: {}", exit_->reason()));
    if (exit_->signal() != 0) {
      Fail(fmt::format("lost Open MPI's daemon (signal {})", exit_->signal()));
      return kSignalBase + exit_->signal();
    }
    if (exit_->status() != 0) {
      std::cerr << fmt::format("Open MPI's daemon of worker {} exited with status {}\n", member_.worker(),
                               exit_->status());
    }
    return exit_->status();
  }

  int Fail(const std::string& what) const {
    std::cerr << fmt::format("{}worker {} ({}) {}\n", kErrorMark, member_.worker(), member_.address(), what);
    return 1;
  }

  const v1::GangCall& call_;
  const v1::GangMember& member_;
  v1::GangService::Stub* const stub_;
  bool has_joined_ = false;
  std::optional<v1::DaemonExit> exit_;
};

int Refuse(const std::string& why) {
  std::cerr << kErrorMark << why << std::endl;
  return 1;
}

}  // namespace

std::vector<std::string> SplitCommand(const std::string& command) {
  std::vector<std::string> words;
  bool in_word = false;
  char quote = 0;
  for (const char c : command) {
    const bool opens = quote == 0 && (c == '"' || c == '\'');
    if (quote == 0 && c == ' ') {
      in_word = false;
      continue;
    }
    if (!in_word) words.emplace_back();
    in_word = true;
    if (opens) {
      quote = c;
    } else if (c == quote) {
      quote = 0;
    } else {
      words.back() += c;
    }
  }
  return words;
}

absl::StatusOr<std::vector<v1::DaemonSetting>> SettingsOf(const std::vector<std::string>& words) {
  size_t position = 0;
  // Words for a login shell may come before it.
  while (position < words.size() && words[position] != "orted") ++position;
  if (position == words.size()) return absl::InvalidArgumentError("mpirun's command does not start orted");
  std::vector<v1::DaemonSetting> settings;
  for (++position; position + 2 < words.size() && words[position] == "-mca"; position += 3) {
    if (!IsDaemonSetting(words[position + 1])) continue;
    settings.emplace_back().set_name(words[position + 1]);
    settings.back().set_value(words[position + 2]);
  }
  const bool is_end = position == words.size() || words[position] == ")";
  if (!is_end) return absl::InvalidArgumentError(fmt::format("orted may not be started with {}", words[position]));
  return settings;
}

int RunRemoteDaemon(const v1::GangCall& call, const std::string& node, const std::vector<v1::DaemonSetting>& settings) {
  const std::optional<int> position = MemberOfNode(node);
  if (!position || *position < 1 || *position >= call.gang().members_size()) {
    return Refuse(fmt::format("the gang has no helper named {}", node));
  }
  const v1::GangMember& member = call.gang().members(*position);
  const TlsFiles tls{.certificate = call.tls_certificate(),
                     .private_key = call.tls_key(),
                     .certificate_authority = call.tls_authority()};
  const auto channel = OpenWorkerChannel(member.address(), tls);
  if (!channel.ok()) return Refuse(std::string(channel.status().message()));
  v1::RunDaemonRequest request;
  *request.mutable_attempt() = call.attempt();
  for (const v1::DaemonSetting& setting : settings) *request.add_settings() = setting;
  const auto stub = v1::GangService::NewStub(*channel);
  return DaemonCall(call, member, stub.get()).Run(request);
}

}  // namespace regroup
