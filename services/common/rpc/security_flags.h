// Command-line flags for certificate, key, authority and token, the same in every program.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "services/common/rpc/channel.h"

namespace regroup {

/// Adds --tls-certificate, --tls-key and --tls-authority. Daemons take them from the command line only: a coordinator
/// and a worker started by `regroup run` must not use variables meant for the user's other clusters.
void AddTlsFlags(CLI::App* app, TlsFiles* tls);

/// Adds --token-file.
void AddTokenFlag(CLI::App* app, std::string* token_file);

/// Adds all of these flags for a program that a person uses, which also reads them from REGROUP_TLS_CERTIFICATE,
/// REGROUP_TLS_KEY, REGROUP_TLS_AUTHORITY and REGROUP_TOKEN_FILE.
void AddIdentityFlags(CLI::App* app, ClientIdentity* identity);

}  // namespace regroup
