// Settings of a coordinator that listens for other machines and therefore asks for certificates and tokens.
#pragma once

#include "coordinator/api/coordinator.h"
#include "tests/unit/services/common/rpc/test_certificates.h"

namespace regroup {

/// Returns the settings of a coordinator with the certificate "server" and the file "tokens" among the files.
inline CoordinatorOptions GuardedOptions(const TestCertificates& files) {
  CoordinatorOptions options;
  options.listen = "0.0.0.0:0";
  options.metrics_listen = "";
  options.state_folder = files.Path("state");
  options.tls = files.Files("server");
  options.token_file = files.Path("tokens");
  return options;
}

}  // namespace regroup
