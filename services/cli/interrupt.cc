#include "services/cli/interrupt.h"

#include <atomic>
#include <csignal>

namespace regroup {
namespace {

std::atomic<int> interrupts = 0;
static_assert(std::atomic<int>::is_always_lock_free);

void OnSignal(int) { interrupts.fetch_add(1); }

}  // namespace

void CountInterrupts() {
  struct sigaction action {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
}

int Interrupts() { return interrupts.load(); }

}  // namespace regroup
