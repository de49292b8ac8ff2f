// The public keys of an issuer of JSON Web Tokens, from a JSON Web Key Set (RFC 7517).
//
// A value that does not change, for any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/access/public_key.h"

namespace regroup {

inline constexpr size_t kMostWebKeySetBytes = 256 << 10;

class WebKeySet {
 public:
  /// Reads the set. Keys for other purposes and algorithms are left out. INVALID_ARGUMENT, as the end of a sentence
  /// that begins with the set's name, if the text is not a set, if no key is left, if a key is malformed, weak, private
  /// or has the id of another one.
  static absl::StatusOr<WebKeySet> Parse(std::string_view text);

  /// Returns the key with this id, or, for a token without one, the only key of the set; null if there is none.
  const PublicKey* Find(const std::optional<std::string>& id) const;

  /// Returns true if the set has the key with this digest.
  bool Has(std::string_view digest) const;

  /// Returns true if both have the same keys with the same ids in the same order.
  bool IsSameAs(const WebKeySet& other) const;

  size_t size() const { return keys_.size(); }

 private:
  struct NamedKey {
    std::optional<std::string> id;
    PublicKey key;
  };

  absl::Status Add(std::optional<std::string> id, PublicKey key);

  std::vector<NamedKey> keys_;
};

}  // namespace regroup
