// The flags with which every program names its certificate, its key, the authority and its token: one set, one meaning.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "services/common/rpc/channel.h"

namespace regroup {

/// --tls-certificate, --tls-key, --tls-authority. Daemons take them from the command line only: a coordinator and a
/// worker that `regroup run` starts must not take what is meant for its user's other clusters.
void AddTlsFlags(CLI::App* app, TlsFiles* tls);

/// --token-file.
void AddTokenFlag(CLI::App* app, std::string* token_file);

/// All of them for a program that a person uses, which also takes them from REGROUP_TLS_CERTIFICATE, REGROUP_TLS_KEY,
/// REGROUP_TLS_AUTHORITY and REGROUP_TOKEN_FILE.
void AddIdentityFlags(CLI::App* app, ClientIdentity* identity);

}  // namespace regroup
