#include "services/common/rpc/connection_polling.h"

#include <cstdlib>
#include <mutex>

namespace regroup {

void PollConnectionsOften() {
  static std::once_flag once;
  // gRPC reads it when it is initialised.
  std::call_once(once, [] { setenv("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "100", 0); });
}

}  // namespace regroup
