// The flags with which every program names its certificate, its key, the authority and its token: one set, one meaning.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "services/rpc/credentials.h"

namespace regroup {

/// --tls-certificate, --tls-key, --tls-authority; also REGROUP_TLS_CERTIFICATE, REGROUP_TLS_KEY, REGROUP_TLS_AUTHORITY.
void AddTlsFlags(CLI::App* app, TlsFiles* tls);

/// --token-file; also REGROUP_TOKEN_FILE.
void AddTokenFlag(CLI::App* app, std::string* token_file);

}  // namespace regroup
