// The check that a client makes of a server's certificate, after the authority's signature and the dates.
#pragma once

#include <grpcpp/security/tls_certificate_verifier.h>

#include <memory>

namespace regroup {

/// Returns a check that the certificate carries the name that the client called, and that it may serve under it: its
/// extended key usage, if it has one, names serverAuth, and a worker's certificate is believed only by those that call
/// a worker. So a worker, whose host may be less well guarded, cannot receive the tokens of people.
std::shared_ptr<grpc::experimental::CertificateVerifier> MakeServerVerifier();

}  // namespace regroup
