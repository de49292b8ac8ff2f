// Tests of what the claims of a verified token decide: whether it is meant for this service and valid now, and whose it
// is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/access/claim_checks.h"
#include "coordinator/access/claim_rules.h"
#include "services/common/base/error.h"

namespace regroup {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr int64_t kNow = 1'800'000'000;

absl::Status Check(const Json& changes, int64_t now = kNow, seconds leeway = seconds(60)) {
  Json claims = {{"iss", "https://issuer"}, {"aud", "regroup"}, {"exp", kNow + 600}, {"sub", "alice"}};
  claims.merge_patch(changes);
  return CheckClaims(claims, {.issuer = "https://issuer", .audience = "regroup", .leeway = leeway},
                     std::chrono::system_clock::time_point(seconds(now)));
}

TEST(Claims, AreForThisServiceAlone) {
  EXPECT_TRUE(Check(Json::object()).ok());
  EXPECT_TRUE(Check({{"aud", {"other", "regroup"}}}).ok());
  for (const Json& changes : {Json{{"aud", "other"}}, Json{{"aud", {"other"}}}, Json{{"aud", nullptr}},
                              Json{{"aud", 7}}, Json{{"aud", {{"regroup", true}}}}, Json{{"iss", "https://issuer/"}},
                              Json{{"iss", nullptr}}, Json{{"iss", Json::array({"https://issuer"})}}}) {
    EXPECT_EQ(Check(changes).code(), absl::StatusCode::kUnauthenticated) << changes;
  }
}

TEST(Claims, MustNameTheirEnd) {
  for (const Json& exp : {Json(nullptr), Json("1900000000"), Json(true)}) {
    EXPECT_THAT(std::string(Check({{"exp", exp}}).message()), HasSubstr("no claim exp")) << exp;
  }
  EXPECT_TRUE(Check({{"exp", static_cast<double>(kNow) + 0.5}}).ok());
}

TEST(Claims, AreValidBetweenTheirTimesWithinTheLeeway) {
  EXPECT_TRUE(Check(Json::object(), kNow + 659).ok());
  EXPECT_THAT(std::string(Check(Json::object(), kNow + 660).message()), HasSubstr("expired"));
  EXPECT_FALSE(Check(Json::object(), kNow + 600, seconds(0)).ok());
  for (const char* name : {"nbf", "iat"}) {
    EXPECT_TRUE(Check({{name, kNow + 60}}).ok()) << name;
    EXPECT_THAT(std::string(Check({{name, kNow + 61}}).message()), HasSubstr(name));
    EXPECT_FALSE(Check({{name, kNow + 1}}, kNow, seconds(0)).ok()) << name;
    EXPECT_FALSE(Check({{name, "1"}}).ok()) << name;
  }
}

constexpr char kRules[] = R"(
rules:
  - {claim: groups, value: admins, role: admin}
  - {claim: realm_access.roles, value: trainer, role: submitter, owner_claim: preferred_username, owner_prefix: hr.}
  - claim: sub
    value: system:serviceaccount:ml:regroup-worker
    role: worker
    worker_claim: [kubernetes.io, pod, name]
    owner_claim: [kubernetes.io, serviceaccount, name]
  - {claim: email_verified, value: "true", role: viewer}
  - {claim: level, value: 3, role: worker, worker: node-*}
)";

absl::StatusOr<Caller> Identify(const Json& claims) {
  return ClaimRules::Parse(kRules, "roles.yaml")->Identify(claims);
}

TEST(ClaimRules, GiveTheRoleOfTheFirstThatFits) {
  EXPECT_EQ(Identify({{"sub", "root"}, {"groups", {"users", "admins"}}, {"email_verified", true}})->role, Role::kAdmin);
  EXPECT_EQ(Identify({{"sub", "root"}, {"groups", "admins"}})->name, "root");
  EXPECT_EQ(Identify({{"sub", "v"}, {"groups", {"users"}}, {"email_verified", true}})->role, Role::kViewer);
  EXPECT_EQ(Identify({{"sub", "n"}, {"level", 3}})->worker, "node-*");
}

TEST(ClaimRules, NameTheOwnerByAClaimAndAPrefix) {
  const auto caller =
      Identify({{"sub", "00u1!"}, {"realm_access", {{"roles", {"user", "trainer"}}}}, {"preferred_username", "alice"}});
  ASSERT_TRUE(caller.ok()) << caller.status();
  EXPECT_EQ(caller->role, Role::kSubmitter);
  EXPECT_EQ(caller->name, "hr.alice");
  EXPECT_EQ(caller->worker, "");
}

TEST(ClaimRules, ReadTheNestedClaimsOfKubernetes) {
  Json claims = {{"sub", "system:serviceaccount:ml:regroup-worker"},
                 {"kubernetes.io",
                  {{"namespace", "ml"},
                   {"pod", {{"name", "regroup-worker-0"}, {"uid", "1"}}},
                   {"serviceaccount", {{"name", "regroup-worker"}, {"uid", "2"}}}}}};
  const auto caller = Identify(claims);
  ASSERT_TRUE(caller.ok()) << caller.status();
  EXPECT_EQ(caller->role, Role::kWorker);
  EXPECT_EQ(caller->name, "regroup-worker");
  EXPECT_EQ(caller->worker, "regroup-worker-0");
  for (const char* pod : {"", "regroup-worker-*", "*", "A/B"}) {
    claims["kubernetes.io"]["pod"]["name"] = pod;
    EXPECT_THAT(std::string(Identify(claims).status().message()), HasSubstr("worker_claim")) << pod;
  }
}

TEST(ClaimRules, SayWhatToDoForSomebodyWithoutARole) {
  const absl::Status status = Identify({{"sub", "mallory\n"}, {"groups", {"users"}}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(ReasonOf(status), v1::NOT_ALLOWED);
  EXPECT_THAT(std::string(status.message()), HasSubstr("roles.yaml"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("mallory\\n"));
  for (const Json& claims : {Json::object(), Json{{"groups", {{"admins", true}}}}, Json{{"groups", "Admins"}},
                             Json{{"realm_access", "trainer"}}, Json{{"groups", {{"admins"}}}}}) {
    EXPECT_FALSE(Identify(claims).ok()) << claims;
  }
}

TEST(ClaimRules, RefuseNamesThatATokenOfTheFileCouldNotHave) {
  for (const Json& sub : {Json(""), Json("Alice"), Json("a b"), Json("../a"), Json(7), Json(nullptr),
                          Json(std::string(64, 'a')), Json("system:serviceaccount:ml:ci")}) {
    const absl::Status status = Identify({{"sub", sub}, {"groups", "admins"}}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << sub;
    EXPECT_THAT(std::string(status.message()), HasSubstr("line 3 of roles.yaml")) << sub;
    EXPECT_THAT(std::string(status.message()), HasSubstr("owner_claim")) << sub;
  }
}

TEST(ClaimRules, NameTheLineOfAMistake) {
  const auto error = [](const std::string& text) {
    return std::string(ClaimRules::Parse(text, "roles.yaml").status().message());
  };
  const std::string list = "rules:\n  - ";
  EXPECT_THAT(error(""), HasSubstr("rules"));
  EXPECT_THAT(error("rules: []"), HasSubstr("roles.yaml:1:8: there is no rule"));
  EXPECT_THAT(error("rules: 7"), HasSubstr("rules, with a list"));
  EXPECT_THAT(error("rules: [a]"), HasSubstr("a rule is a mapping"));
  EXPECT_THAT(error("- a"), HasSubstr("roles.yaml:1:1: the file must be a mapping"));
  EXPECT_THAT(error(list + "{claim: sub, value: a}"), HasSubstr("roles.yaml:2:5: the rule has no role"));
  EXPECT_THAT(error(list + "{claim: sub, value: a, role: root}"), HasSubstr("\"root\" is not a role"));
  EXPECT_THAT(error(list + "{claim: sub, value: a, role: local}"), HasSubstr("is not a role"));
  EXPECT_THAT(error(list + "{claim: sub, value: a, role: admin, user: b}"), HasSubstr("unknown key 'user'"));
  EXPECT_THAT(error(list + "{claim: a..b, value: a, role: admin}"), HasSubstr("a claim's name"));
  EXPECT_THAT(error(list + "{claim: [], value: a, role: admin}"), HasSubstr("a claim's name"));
  EXPECT_THAT(error(list + "{claim: sub, value: [a], role: admin}"), HasSubstr("write text"));
  EXPECT_THAT(error(list + "{claim: sub, value: a, role: admin, owner_prefix: A/}"),
              HasSubstr("cannot begin an owner"));
  EXPECT_THAT(error(list + "{claim: sub, value: a, role: worker}"), HasSubstr("either worker or worker_claim"));
  EXPECT_THAT(error(list + "{claim: sub, value: a, role: worker, worker: '*'}"), HasSubstr("neither a worker's id"));
  EXPECT_THAT(error(list + "{claim: sub, value: a, role: worker, worker: a, worker_claim: b}"), HasSubstr("either"));
  EXPECT_THAT(error(list + "{claim: sub, value: a, role: admin, worker: a}"),
              HasSubstr("only rules for the role worker"));
}

}  // namespace
}  // namespace regroup
