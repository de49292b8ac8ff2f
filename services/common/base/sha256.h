// SHA-256 of data in pieces, as lower-case hexadecimal text.
#pragma once

#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace regroup {

/// Digest of data that is added in pieces. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();

  Sha256& Update(std::string_view bytes);
  /// Returns 64 hexadecimal digits. The object must not be used afterwards.
  std::string Finish();

 private:
  std::unique_ptr<evp_md_ctx_st, void (*)(evp_md_ctx_st*)> context_;
};

/// Returns the digest of one piece.
std::string Sha256Of(std::string_view bytes);

}  // namespace regroup
