// Limits of one request, checked on its bytes before it is parsed: two bytes of an empty sub-message become a hundred
// in memory. Pure; may be called from any thread.
#pragma once

#include <google/protobuf/descriptor.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstddef>

#include "absl/status/status.h"

namespace regroup {

struct RequestLimits {
  /// Bytes of the encoded request.
  size_t bytes = 1 << 20;
  /// Entries of each repeated field or map, summed over all messages that hold the field; and fields that this version
  /// does not know.
  size_t entries = 1024;
};

/// Returns OK if the encoded request keeps to the limits. RESOURCE_EXHAUSTED (LIMIT_REACHED) if it is too long,
/// INVALID_ARGUMENT (INVALID_FIELD) with the field's path if it has too many entries, INVALID_ARGUMENT if it is not an
/// encoded message.
absl::Status CheckRequest(const google::protobuf::Descriptor& type, const grpc::ByteBuffer& request,
                          const RequestLimits& limits);

}  // namespace regroup
