// Input: a JSON Web Token, or its header and claims as JSON, one line each, which are encoded here. What is accepted
// can be checked without a crash, and gives its holder a name and a worker of the allowed form, whatever it says.
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/escaping.h"
#include "coordinator/access/claim_checks.h"
#include "coordinator/access/claim_rules.h"
#include "coordinator/access/json_web_token.h"
#include "coordinator/access/token_file.h"
#include "coordinator/access/worker_binding.h"
#include "services/common/rpc/bearer_token.h"
#include "tests/fuzz/require.h"

namespace regroup {
namespace {

constexpr char kRules[] = R"(
rules:
  - {claim: groups, value: admins, role: admin, owner_prefix: a.}
  - {claim: [kubernetes.io, namespace], value: ml, role: worker, worker_claim: [kubernetes.io, pod, name]}
  - {claim: realm_access.roles, value: trainer, role: submitter, owner_claim: preferred_username}
  - {claim: aud, value: regroup, role: viewer}
)";

void CheckToken(std::string_view token) {
  static const ClaimRules rules = ClaimRules::Parse(kRules, "roles.yaml").value();
  const auto parsed = ParseJsonWebToken(token);
  if (!parsed.ok()) {
    REGROUP_REQUIRE(parsed.status().message().size() < 200);
    return;
  }
  REGROUP_REQUIRE(token.size() <= kLongestToken && token.substr(0, parsed->signed_text.size()) == parsed->signed_text);
  REGROUP_REQUIRE(parsed->claims.is_object() && !parsed->signature.empty());
  // One token has one text.
  REGROUP_REQUIRE(absl::WebSafeBase64Escape(parsed->signature) == token.substr(parsed->signed_text.size() + 1));
  static_cast<void>(CheckClaims(parsed->claims, {.issuer = "https://issuer", .audience = "regroup"}, {}));
  const auto caller = rules.Identify(parsed->claims);
  if (!caller.ok()) {
    REGROUP_REQUIRE(caller.status().message().size() < 4096);
    return;
  }
  REGROUP_REQUIRE(IsCallerName(caller->name));
  REGROUP_REQUIRE((caller->role == Role::kWorker) == IsWorkerId(caller->worker));
}

}  // namespace
}  // namespace regroup

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  regroup::CheckToken(input);
  const size_t end = input.find('\n');
  if (end == std::string::npos) return 0;
  regroup::CheckToken(absl::WebSafeBase64Escape(input.substr(0, end)) + "." +
                      absl::WebSafeBase64Escape(input.substr(end + 1)) + ".c2ln");
  return 0;
}
