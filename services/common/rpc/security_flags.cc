#include "services/common/rpc/security_flags.h"

namespace regroup {

void AddTlsFlags(CLI::App* app, TlsFiles* tls) {
  app->add_option("--tls-certificate", tls->certificate, "This program's certificate (PEM)");
  app->add_option("--tls-key", tls->private_key, "This program's private key (PEM)");
  app->add_option("--tls-authority", tls->certificate_authority,
                  "Authority that signed the other side's certificate (PEM)");
}

void AddTokenFlag(CLI::App* app, std::string* token_file) {
  app->add_option("--token-file", *token_file, "File with the token that identifies this program to the coordinator");
}

void AddIdentityFlags(CLI::App* app, ClientIdentity* identity) {
  AddTlsFlags(app, &identity->tls);
  AddTokenFlag(app, &identity->token_file);
  app->get_option("--tls-certificate")->envname("REGROUP_TLS_CERTIFICATE");
  app->get_option("--tls-key")->envname("REGROUP_TLS_KEY");
  app->get_option("--tls-authority")->envname("REGROUP_TLS_AUTHORITY");
  app->get_option("--token-file")->envname("REGROUP_TOKEN_FILE");
}

}  // namespace regroup
