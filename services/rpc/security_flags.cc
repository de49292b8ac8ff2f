#include "services/rpc/security_flags.h"

namespace regroup {

void AddTlsFlags(CLI::App* app, TlsFiles* tls) {
  app->add_option("--tls-certificate", tls->certificate, "This program's certificate (PEM)")
      ->envname("REGROUP_TLS_CERTIFICATE");
  app->add_option("--tls-key", tls->private_key, "Its private key (PEM)")->envname("REGROUP_TLS_KEY");
  app->add_option("--tls-authority", tls->certificate_authority, "Certificates that signed the other side's (PEM)")
      ->envname("REGROUP_TLS_AUTHORITY");
}

void AddTokenFlag(CLI::App* app, std::string* token_file) {
  app->add_option("--token-file", *token_file, "File with the token that the coordinator knows this program by")
      ->envname("REGROUP_TOKEN_FILE");
}

}  // namespace regroup
