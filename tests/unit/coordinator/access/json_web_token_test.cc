// Tests of the parts of a token, and of signatures, with the examples of RFC 7515 and RFC 7519. Forged tokens of every
// kind are in tests/contract/jwt_authorization_test.py.
#include "coordinator/access/json_web_token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "coordinator/access/web_key_set.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

// RFC 7515, appendices A.2 and A.3: the same claims, signed with RS256 and ES256.
constexpr char kClaimsOfJoe[] =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
constexpr char kRs256Header[] = "eyJhbGciOiJSUzI1NiJ9";
constexpr char kRs256Signature[] =
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t"
    "1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12j"
    "zDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQ"
    "Ge77Rw";
constexpr char kRsaKey[] =
    R"({"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm)"
    R"(4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBd)"
    R"(QOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFk)"
    R"(MLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"})";
constexpr char kEs256Header[] = "eyJhbGciOiJFUzI1NiJ9";
constexpr char kEs256Signature[] =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
constexpr char kEcKey[] = R"({"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",)"
                          R"("y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})";
// RFC 7519, sections 3.1 (HS256) and 6.1 (unsecured).
constexpr char kHs256Token[] =
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNv"
    "bS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
constexpr char kUnsecuredToken[] =
    "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlf"
    "Q.";

std::string Joined(const std::string& header, const std::string& claims, const std::string& signature) {
  return header + "." + claims + "." + signature;
}

std::string Token(const std::string& header, const std::string& claims) {
  return Joined(absl::WebSafeBase64Escape(header), absl::WebSafeBase64Escape(claims), "c2ln");
}

std::string ErrorOf(const std::string& token) { return std::string(ParseJsonWebToken(token).status().message()); }

WebKeySet SetOf(const std::string& keys) {
  absl::StatusOr<WebKeySet> set = WebKeySet::Parse(R"({"keys":[)" + keys + "]}");
  EXPECT_TRUE(set.ok()) << set.status();
  return *std::move(set);
}

bool Verifies(const std::string& token, const WebKeySet& keys) {
  const auto parsed = ParseJsonWebToken(token);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  const PublicKey* key = keys.Find(parsed->key_id);
  return key->algorithm() == parsed->algorithm && key->Verifies(parsed->signed_text, parsed->signature);
}

TEST(JsonWebToken, OfTheRfcsExamplesAreVerified) {
  EXPECT_TRUE(Verifies(Joined(kRs256Header, kClaimsOfJoe, kRs256Signature), SetOf(kRsaKey)));
  EXPECT_TRUE(Verifies(Joined(kEs256Header, kClaimsOfJoe, kEs256Signature), SetOf(kEcKey)));
  const auto parsed = ParseJsonWebToken(Joined(kRs256Header, kClaimsOfJoe, kRs256Signature));
  EXPECT_EQ(parsed->claims.at("iss"), "joe");
  EXPECT_EQ(parsed->claims.at("exp"), 1300819380);
}

TEST(JsonWebToken, OfTheRfcsExamplesAreNotVerifiedWithOtherClaimsOrKeys) {
  const std::string others = absl::WebSafeBase64Escape(R"({"iss":"joe","exp":1300819381})");
  EXPECT_FALSE(Verifies(Joined(kRs256Header, others, kRs256Signature), SetOf(kRsaKey)));
  EXPECT_FALSE(Verifies(Joined(kEs256Header, others, kEs256Signature), SetOf(kEcKey)));
  EXPECT_FALSE(Verifies(Joined(kEs256Header, kClaimsOfJoe, kEs256Signature), SetOf(kRsaKey)));
  EXPECT_FALSE(Verifies(Joined(kRs256Header, kClaimsOfJoe, kRs256Signature), SetOf(kEcKey)));
}

TEST(JsonWebToken, WithASharedSecretOrWithoutASignatureIsRefused) {
  EXPECT_THAT(ErrorOf(kHs256Token), HasSubstr("RS256 or ES256"));
  EXPECT_THAT(ErrorOf(kUnsecuredToken), HasSubstr("RS256 or ES256"));
  EXPECT_THAT(ErrorOf(Joined(kRs256Header, kClaimsOfJoe, "")), HasSubstr("no signature"));
}

TEST(JsonWebToken, ThatBringsItsKeyOrAsksForMoreIsRefused) {
  for (const char* parameter : {"crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc", "cty"}) {
    EXPECT_THAT(ErrorOf(Token(R"({"alg":"RS256",")" + std::string(parameter) + R"(":true})", "{}")),
                HasSubstr(parameter));
  }
  EXPECT_THAT(ErrorOf(Token(R"({"alg":"RS256","typ":"logout+jwt"})", "{}")), HasSubstr("type"));
  EXPECT_THAT(ErrorOf(Token(R"({"alg":"RS256","kid":7})", "{}")), HasSubstr("kid"));
}

TEST(JsonWebToken, InAnotherFormIsRefused) {
  for (const char* token :
       {"", ".", "..", "a.b", "a.b.c.d", "a.b.c.d.e", "e30.e30.!", "e30 .e30.c2ln", "e30=.e30.c2ln"}) {
    EXPECT_FALSE(ParseJsonWebToken(token).ok()) << token;
  }
  const std::string header = R"({"alg":"RS256"})";
  for (const char* claims : {"", "[]", "7", "{", R"({"sub":"a","sub":"b"})", R"({"a":{"b":1,"b":2}})"}) {
    EXPECT_FALSE(ParseJsonWebToken(Token(header, claims)).ok()) << claims;
  }
  EXPECT_FALSE(ParseJsonWebToken(Token(R"({"alg":"none","alg":"RS256"})", "{}")).ok());
  EXPECT_TRUE(ParseJsonWebToken(Token(header, R"({"a":{"b":1},"c":{"b":2}})")).ok());
  EXPECT_THAT(ErrorOf(Token(header, std::string(500, '[') + std::string(500, ']'))), HasSubstr("nested"));
  EXPECT_THAT(ErrorOf(Token(header, R"({"a":")" + std::string(8000, 'x') + R"("})")), HasSubstr("bytes"));
}

TEST(Base64Url, StandsForBytesInOneWayOnly) {
  // RFC 7515, appendix C.
  EXPECT_EQ(DecodeBase64Url("A-z_4ME"), std::string("\x03\xec\xff\xe0\xc1"));
  for (const char* text : {"A-z_4MF", "A-z_4ME=", "A+z/4ME", "A-z_4ME\n", "A"}) {
    EXPECT_EQ(DecodeBase64Url(text), std::nullopt) << text;
  }
}

TEST(WebKeySet, FindsKeysByIdAndTheOnlyKeyWithoutOne) {
  const std::string named = R"({"kid":"a/../b",)" + std::string(kEcKey).substr(1);
  EXPECT_NE(SetOf(named).Find("a/../b"), nullptr);
  EXPECT_NE(SetOf(named).Find(std::nullopt), nullptr);
  EXPECT_EQ(SetOf(named).Find("a"), nullptr);
  EXPECT_EQ(SetOf(named + "," + kRsaKey).Find(std::nullopt), nullptr);
  EXPECT_EQ(SetOf(kRsaKey).Find(""), nullptr);
}

TEST(WebKeySet, LeavesOutKeysForOtherPurposes) {
  const std::string rsa = std::string(kRsaKey).substr(1);
  const WebKeySet set = SetOf(std::string(kEcKey) + R"(,{"use":"enc",)" + rsa + R"(,{"alg":"PS256",)" + rsa +
                              R"(,{"key_ops":["encrypt"],)" + rsa +
                              R"(,{"kty":"oct","k":"c2VjcmV0"},{"kty":"OKP","crv":"Ed25519","x":"AA"})");
  EXPECT_EQ(set.size(), 1u);
  EXPECT_EQ(set.Find(std::nullopt)->algorithm(), SignatureAlgorithm::kEs256);
}

TEST(WebKeySet, RefusesWhatNoIssuerMeans) {
  const auto error = [](const std::string& text) { return std::string(WebKeySet::Parse(text).status().message()); };
  EXPECT_THAT(error("nonsense"), HasSubstr("JSON"));
  EXPECT_THAT(error("{}"), HasSubstr("keys"));
  EXPECT_THAT(error(R"({"keys":[]})"), HasSubstr("no public key"));
  EXPECT_THAT(error(R"({"keys":[7]})"), HasSubstr("key 1 is not an object"));
  EXPECT_THAT(error(R"({"keys":[{"d":"AA",)" + std::string(kRsaKey).substr(1) + "]}"), HasSubstr("private"));
  EXPECT_THAT(error(R"({"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]})"), HasSubstr("2048 bits"));
  EXPECT_THAT(error(R"({"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]})"), HasSubstr("32 bytes"));
  const std::string off_curve =
      R"({"kty":"EC","crv":"P-256","x":")" + std::string(43, 'A') + R"(","y":")" + std::string(43, 'A') + "\"}";
  EXPECT_THAT(error(R"({"keys":[)" + off_curve + "]}"), HasSubstr("not a point"));
  const std::string named = R"({"kid":"a",)" + std::string(kEcKey).substr(1);
  EXPECT_THAT(error(R"({"keys":[)" + named + "," + named + "]}"), HasSubstr("key 2 has the kid"));
}

}  // namespace
}  // namespace regroup
