#include "coordinator/api/webhook_sender.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "services/common/base/enum_words.h"
#include "services/common/base/hmac.h"
#include "services/common/base/logging.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/status_macros.h"
#include "services/common/remote/http_client.h"

namespace regroup {
namespace {

using Clock = std::chrono::system_clock;

constexpr std::chrono::milliseconds kInterval(1000);
constexpr std::chrono::hours kPatience(72);
constexpr std::chrono::seconds kFirstPause(5), kLongestPause(3600);
constexpr size_t kAtOnce = 20;
constexpr int kTimeoutS = 10;
constexpr int kGone = 410;

int64_t MicrosSince1970(Clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
}

/// Returns the job as JSON with the names of the proto file, without what is large.
nlohmann::json Summary(const v1::Job& job) {
  v1::Job small = WithoutTasks(job);
  small.clear_spec();
  small.clear_resolved_spec();
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(small, &text, options).ok()) return {};
  nlohmann::json summary = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (summary.is_object()) summary["output"] = job.resolved_spec().output().checkpoint();
  return summary;
}

absl::Status Post(const Webhook& hook, const Delivery& delivery, Clock::time_point now, int* status) {
  REGROUP_ASSIGN_OR_RETURN(const std::string secret, ReadWebhookSecret(hook.secret_file));
  const int64_t seconds = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  // The operator chose the receiver, so its address may be private.
  HttpClient client({.trusted_origins = {OriginOf(hook.url)},
                     .connect_timeout_s = kTimeoutS,
                     .stall_timeout_s = kTimeoutS,
                     .longest_body = size_t{64} << 10});
  const HttpRequest request{
      .method = "POST",
      .url = hook.url,
      .headers = {{"content-type", "application/json"},
                  {"webhook-id", delivery.id},
                  {"webhook-timestamp", std::to_string(seconds)},
                  {"webhook-signature", WebhookSignature(secret, delivery.id, seconds, delivery.body)}},
      .body = delivery.body};
  REGROUP_ASSIGN_OR_RETURN(const HttpResponse response, client.Send(request));
  *status = response.status;
  return StatusOf(response, WithoutQuery(hook.url));
}

}  // namespace

std::vector<Delivery> DeliveriesOf(const std::vector<Webhook>& hooks, const v1::Job& job, Clock::time_point now) {
  std::vector<Delivery> deliveries;
  for (const Webhook& hook : hooks) {
    if (!hook.states.contains(job.state())) continue;
    Delivery& delivery = deliveries.emplace_back();
    // A job that is retried ends again, with a later revision.
    delivery.id = fmt::format("{}.{}.{}", LastSegment(job.name()), job.revision(), hook.name);
    delivery.hook = hook.name;
    delivery.created_us = MicrosSince1970(now);
    const nlohmann::json body = {
        {"type", fmt::format("job.{}", EnumWord(job.state()))},
        {"timestamp", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(Clock::to_time_t(now)))},
        {"data", Summary(job)}};
    delivery.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  return deliveries;
}

std::string WebhookSignature(std::string_view secret, std::string_view id, int64_t unix_seconds,
                             std::string_view body) {
  return "v1," + absl::Base64Escape(HmacSha256(secret, fmt::format("{}.{}.{}", id, unix_seconds, body)));
}

std::chrono::seconds PauseBeforeDelivery(int64_t failures) {
  constexpr int64_t most_doublings = 16;
  const auto pause = kFirstPause * (int64_t{1} << std::clamp<int64_t>(failures - 1, 0, most_doublings));
  return std::min(pause, kLongestPause);
}

WebhookSender::WebhookSender(JobStore* store, std::vector<Webhook> hooks, Listener listener)
    : store_(store), hooks_(std::move(hooks)), listener_(std::move(listener)) {}

void WebhookSender::Start() {
  ticker_.emplace(kInterval, [this] { SendDue(); });
}

const Webhook* WebhookSender::Find(const std::string& name) const {
  const auto found = std::find_if(hooks_.begin(), hooks_.end(), [&](const Webhook& hook) { return hook.name == name; });
  return found == hooks_.end() ? nullptr : &*found;
}

void WebhookSender::SendDue() {
  const absl::StatusOr<std::vector<Delivery>> due = store_->DueDeliveries(MicrosSince1970(Clock::now()), kAtOnce);
  if (!due.ok()) return;
  // A receiver that does not answer must not keep the others waiting.
  std::set<std::string> failing;
  for (Delivery delivery : *due) {
    if (failing.contains(delivery.hook)) continue;
    const Webhook* const hook = Find(delivery.hook);
    int status = 0;
    const Clock::time_point now = Clock::now();
    const absl::Status sent =
        hook == nullptr ? absl::NotFoundError("the webhook was removed") : Post(*hook, delivery, now, &status);
    if (sent.ok()) {
      listener_.count(delivery.hook, "delivered");
      listener_.store({}, {delivery.id});
      continue;
    }
    const bool is_old = MicrosSince1970(now - kPatience) > delivery.created_us;
    if (hook == nullptr || status == kGone || is_old) {
      LogError("an event of a webhook is dropped",
               {{"webhook", delivery.hook}, {"event", delivery.id}, {"reason", std::string(sent.message())}});
      listener_.count(delivery.hook, "dropped");
      listener_.store({}, {delivery.id});
      continue;
    }
    failing.insert(delivery.hook);
    ++delivery.failures;
    delivery.not_before_us = MicrosSince1970(now + PauseBeforeDelivery(delivery.failures));
    LogWarning("an event of a webhook could not be delivered and is sent again",
               {{"webhook", delivery.hook}, {"event", delivery.id}, {"reason", std::string(sent.message())}});
    listener_.count(delivery.hook, "failed");
    listener_.store({std::move(delivery)}, {});
  }
}

}  // namespace regroup
