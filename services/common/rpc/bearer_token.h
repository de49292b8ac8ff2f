// The token by which a program is known to the coordinator: a line of a file, sent with every call as
// "authorization: Bearer TOKEN".
#pragma once

#include <grpcpp/support/client_interceptor.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace regroup {

/// The name of the header, and what stands before the token in it.
inline constexpr char kAuthorizationHeader[] = "authorization";
inline constexpr char kBearerPrefix[] = "Bearer ";

/// The file's first line without white space around it. INVALID_ARGUMENT where that is no token.
absl::StatusOr<std::string> ReadTokenFile(const std::string& path);

/// Adds the token to every call. The file is read for each call, so a token is replaced without a restart; while it
/// cannot be read, the last token is used.
std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface> MakeTokenSender(std::string path,
                                                                                       std::string token);

}  // namespace regroup
