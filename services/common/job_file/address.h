// Addresses: what a job file may name instead of a path, so that a worker copies it to the working folder first.
//
//   hf://org/name[@revision][/path]              a model of a Hugging Face hub, or some of its files
//   hf://datasets/org/name[@revision][/path]     a data set
//   s3://bucket/prefix                           an object, or all objects below a prefix
//   https://host/path                            a file; as a checkpoint, the folder of one
//
// An address holds no secret: credentials in it, and a query, are refused. Pure functions, for any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace regroup {

enum class AddressKind { kHub, kBucket, kWeb };

struct Address {
  AddressKind kind = AddressKind::kWeb;
  /// The address as it was written, without slashes at its end.
  std::string text;
  /// Hub: "org/name", behind "datasets/" for a data set. Bucket: its name. Web: "https://host[:port]".
  std::string place;
  /// Hub only: a branch, a tag, a commit, or refs/pr/1 and the like; "main" if the address names none.
  std::string revision;
  /// The path in the repository, the bucket's prefix, or the path on the host; without slashes at its ends. The last
  /// part may be a pattern with * and ?, except on the web.
  std::string path;
};

/// Returns true for a text with a scheme, of which ParseAddress may still refuse some.
bool IsAddress(std::string_view text);

/// INVALID_ARGUMENT says what to write instead.
absl::StatusOr<Address> ParseAddress(std::string_view text);

/// Returns the place of an address's files below the folder into which a job fetches: a folder that only this address
/// has, and in it the last part of the address, so that names and patterns keep their meaning.
std::string LocalName(const Address& address);

/// Returns true if the address lies below one of the prefixes: "hf://", "hf://org/", "s3://bucket/prefix". A prefix
/// ends where a part of the address ends.
bool IsBelowOneOf(std::string_view address, const std::vector<std::string>& prefixes);

/// Returns what is wrong with a text that should be a prefix of addresses, for the flag --allow-remote; empty if
/// nothing is.
std::string DoubtAboutPrefix(const std::string& prefix);

}  // namespace regroup
