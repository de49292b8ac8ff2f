#include "services/common/rpc/security_flags.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace regroup {
namespace {

class SecurityFlags : public ::testing::Test {
 protected:
  SecurityFlags() { setenv("REGROUP_TLS_KEY", "from-environment", 1); }
  ~SecurityFlags() override { unsetenv("REGROUP_TLS_KEY"); }
};

TEST_F(SecurityFlags, OfAPersonsProgramMayComeFromTheEnvironment) {
  CLI::App app;
  ClientIdentity identity;
  AddIdentityFlags(&app, &identity);
  app.parse("--tls-certificate c.pem --tls-authority a.pem --token-file t");
  EXPECT_EQ(identity.tls.certificate, "c.pem");
  EXPECT_EQ(identity.tls.private_key, "from-environment");
  EXPECT_EQ(identity.tls.certificate_authority, "a.pem");
  EXPECT_EQ(identity.token_file, "t");
  app.parse("--tls-key k.pem");
  EXPECT_EQ(identity.tls.private_key, "k.pem");
}

TEST_F(SecurityFlags, OfADaemonComeFromTheCommandLineAlone) {
  CLI::App app;
  TlsFiles tls;
  AddTlsFlags(&app, &tls);
  app.parse("");
  EXPECT_FALSE(tls.IsSet());
}

}  // namespace
}  // namespace regroup
