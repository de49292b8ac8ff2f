// Tells other services of jobs that have ended, by the Standard Webhooks (standardwebhooks.com, version 1.0.0): a POST
// with JSON, signed with HMAC-SHA256.
//
// A delivery is stored in the same commit as the end of its job, and removed when the receiver has answered with a
// status of 200 to 299: a receiver gets each event at least once, and tells repetitions by the header webhook-id. What
// fails is sent again, later and later, for three days.
//
// Thread-safe. Has a thread of its own once it is started.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/api/webhook_file.h"
#include "coordinator/store/job_store.h"
#include "services/common/base/ticker.h"

namespace regroup {

/// Returns the deliveries that tell of the end of a job: one for each webhook that asks for its state.
std::vector<Delivery> DeliveriesOf(const std::vector<Webhook>& hooks, const v1::Job& job,
                                   std::chrono::system_clock::time_point now);

/// Returns the value of the header webhook-signature.
std::string WebhookSignature(std::string_view secret, std::string_view id, int64_t unix_seconds, std::string_view body);

/// Returns the time until a delivery is sent again after this many failures: 5 s, doubled each time, at most an hour.
std::chrono::seconds PauseBeforeDelivery(int64_t failures);

class WebhookSender {
 public:
  struct Listener {
    /// Stores what became of deliveries.
    std::function<void(std::vector<Delivery> again, std::vector<std::string> finished)> store;
    /// Receives the outcome of every attempt: delivered | failed | dropped.
    std::function<void(const std::string& hook, const char* outcome)> count;
  };

  WebhookSender(JobStore* store, std::vector<Webhook> hooks, Listener listener);
  ~WebhookSender() { Stop(); }

  void Start();
  /// Waits for the request that is under way.
  void Stop() { ticker_.reset(); }

 private:
  void SendDue();
  const Webhook* Find(const std::string& name) const;

  JobStore* const store_;
  const std::vector<Webhook> hooks_;
  const Listener listener_;
  /// Declared last: its thread uses the others.
  std::optional<Ticker> ticker_;
};

}  // namespace regroup
