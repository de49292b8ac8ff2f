#include "services/common/rpc/server_verifier.h"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "services/common/rpc/certificates.h"
#include "services/common/rpc/worker_channel.h"

namespace regroup {
namespace {

using grpc::experimental::ExternalCertificateVerifier;
using grpc::experimental::HostNameCertificateVerifier;
using grpc::experimental::TlsCustomVerificationCheckRequest;

grpc::Status Refuse(const std::string& reason) { return {grpc::StatusCode::UNAUTHENTICATED, reason}; }

/// Thread-safe: it keeps nothing of a request.
class ServerVerifier : public ExternalCertificateVerifier {
 public:
  ServerVerifier() = default;

  bool Verify(TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)> callback,
              grpc::Status* sync_status) override {
    if (!host_name_.Verify(request, std::move(callback), sync_status)) return false;
    if (sync_status->ok()) *sync_status = CheckUse(*request);
    return true;
  }
  void Cancel(TlsCustomVerificationCheckRequest* request) override { host_name_.Cancel(request); }

 private:
  static grpc::Status CheckUse(const TlsCustomVerificationCheckRequest& request) {
    const grpc::string_ref certificate = request.peer_cert();
    if (!MayServe({certificate.data(), certificate.size()})) return Refuse("the certificate is not that of a server");
    const grpc::string_ref target = request.target_name();
    const std::vector<grpc::string_ref> names = request.dns_names();
    const bool is_worker = std::find(names.begin(), names.end(), kWorkerName) != names.end();
    if (is_worker && target != kWorkerName) return Refuse("the certificate is that of a worker, not of a coordinator");
    return grpc::Status::OK;
  }

  HostNameCertificateVerifier host_name_;
};

}  // namespace

std::shared_ptr<grpc::experimental::CertificateVerifier> MakeServerVerifier() {
  return ExternalCertificateVerifier::Create<ServerVerifier>();
}

}  // namespace regroup
