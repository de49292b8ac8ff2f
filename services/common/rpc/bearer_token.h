// The token that identifies a program to the coordinator: a line of a file, sent with every call as "authorization:
// Bearer TOKEN".
#pragma once

#include <grpcpp/support/client_interceptor.h>

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace regroup {

/// The name of the header, and the prefix of the token in it.
inline constexpr char kAuthorizationHeader[] = "authorization";
inline constexpr char kBearerPrefix[] = "Bearer ";
/// Most bytes of a token: half of what a server accepts as headers of a call.
inline constexpr size_t kLongestToken = 8 << 10;

/// Returns the file's first line without surrounding white space. INVALID_ARGUMENT if it is not a token.
absl::StatusOr<std::string> ReadTokenFile(const std::string& path);

/// Adds the token to every call. The file is read for each call, so a token can be replaced without a restart; while it
/// cannot be read, the last token is used.
std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface> MakeTokenSender(std::string path,
                                                                                       std::string token);

}  // namespace regroup
