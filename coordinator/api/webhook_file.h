// Reads the file of webhooks, which an administrator writes in YAML:
//
//   webhooks:
//     - name: pipeline
//       url: https://hooks.example.org/regroup
//       secret_file: /etc/regroup/pipeline.secret
//       states: [succeeded, failed]
//
// Without `states` all final states are told.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "regroup/v1/job.pb.h"

namespace regroup {

struct Webhook {
  /// Lower-case letters, digits and hyphens; deliveries are stored with it.
  std::string name;
  std::string url;
  std::filesystem::path secret_file;
  std::set<v1::JobState> states;
};

inline constexpr size_t kMostWebhooks = 16;

/// INVALID_ARGUMENT names file, line and column of what is wrong.
absl::StatusOr<std::vector<Webhook>> ParseWebhooks(std::string_view text, std::string_view file_name);

/// NOT_FOUND if there is no file; otherwise like ParseWebhooks. Also checks that each secret can be read.
absl::StatusOr<std::vector<Webhook>> ReadWebhooks(const std::filesystem::path& file);

/// Returns the bytes of the secret: those that "whsec_..." encodes, as the Standard Webhooks write them, or the file's
/// text. INVALID_ARGUMENT for fewer than 24 bytes; no message holds any of them.
absl::StatusOr<std::string> ReadWebhookSecret(const std::filesystem::path& file);

}  // namespace regroup
