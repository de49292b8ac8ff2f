#include "services/common/rpc/bearer_token.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <mutex>
#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

using grpc::experimental::InterceptionHookPoints;

constexpr std::string_view kWhiteSpace = " \t\r\n";

std::string FirstLine(const std::string& text) {
  const size_t start = text.find_first_not_of(kWhiteSpace);
  if (start == std::string::npos) return "";
  return text.substr(start, text.find_first_of(kWhiteSpace, start) - start);
}

/// Returns true if the text is not empty and holds only characters that are allowed in a header.
bool IsToken(const std::string& text) {
  return !text.empty() && text.size() <= kLongestToken && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) || std::string_view("-._~+/=").find(static_cast<char>(c)) != std::string_view::npos;
  });
}

class TokenSender : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  TokenSender(std::string path, std::string token) : path_(std::move(path)), token_(std::move(token)) {}

  grpc::experimental::Interceptor* CreateClientInterceptor(grpc::experimental::ClientRpcInfo*) override {
    return new Call(HeaderValue());
  }

 private:
  class Call : public grpc::experimental::Interceptor {
   public:
    explicit Call(std::string value) : value_(std::move(value)) {}

    void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
      if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
        methods->GetSendInitialMetadata()->insert({kAuthorizationHeader, value_});
      }
      methods->Proceed();
    }

   private:
    const std::string value_;
  };

  std::string HeaderValue() {
    absl::StatusOr<std::string> token = ReadTokenFile(path_);
    const std::lock_guard lock(mutex_);
    if (token.ok()) token_ = *std::move(token);
    return kBearerPrefix + token_;
  }

  const std::string path_;
  std::mutex mutex_;
  std::string token_;
};

}  // namespace

absl::StatusOr<std::string> ReadTokenFile(const std::string& path) {
  REGROUP_ASSIGN_OR_RETURN(const std::string content, ReadFile(path));
  std::string token = FirstLine(content);
  if (IsToken(token)) return token;
  return absl::InvalidArgumentError(
      fmt::format("{} holds no token; write the line that `regroup-coordinator token add` printed, or a JWT", path));
}

std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface> MakeTokenSender(std::string path,
                                                                                       std::string token) {
  return std::make_unique<TokenSender>(std::move(path), std::move(token));
}

}  // namespace regroup
