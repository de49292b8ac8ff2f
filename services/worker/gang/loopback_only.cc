// Loaded into mpirun for a gang on one worker (LD_PRELOAD): a socket that would listen on every address of the machine
// listens on loopback only. Open MPI 4 restricts by a setting which networks it uses, but its control port listens on
// every address whatever the settings say, in plain text and without authentication.
//
// A module without other code of Regroup. bind() may be called from any thread.
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

namespace {

using Bind = int (*)(int, const sockaddr*, socklen_t);

/// mpirun passes its environment on to the ranks, which need no replacement: they open no port.
__attribute__((constructor)) void LeaveTheRanksAlone() { unsetenv("LD_PRELOAD"); }

}  // namespace

extern "C" __attribute__((visibility("default"))) int bind(int socket, const sockaddr* address, socklen_t length) {
  static const Bind original = reinterpret_cast<Bind>(dlsym(RTLD_NEXT, "bind"));
  if (address != nullptr && address->sa_family == AF_INET && length >= sizeof(sockaddr_in)) {
    sockaddr_in changed;
    memcpy(&changed, address, sizeof changed);
    if (changed.sin_addr.s_addr == htonl(INADDR_ANY)) changed.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return original(socket, reinterpret_cast<const sockaddr*>(&changed), sizeof changed);
  }
  if (address != nullptr && address->sa_family == AF_INET6 && length >= sizeof(sockaddr_in6)) {
    sockaddr_in6 changed;
    memcpy(&changed, address, sizeof changed);
    if (IN6_IS_ADDR_UNSPECIFIED(&changed.sin6_addr)) changed.sin6_addr = in6addr_loopback;
    return original(socket, reinterpret_cast<const sockaddr*>(&changed), sizeof changed);
  }
  return original(socket, address, length);
}
