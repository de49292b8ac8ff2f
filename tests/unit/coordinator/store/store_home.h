// The place of a store under test, and operations on it from outside. One kind for each JobStore.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/store/job_store.h"

namespace regroup {

/// An open store, and the object that keeps it exclusive.
struct OpenStore {
  std::shared_ptr<void> ownership;
  std::unique_ptr<JobStore> store;
};

class StoreHome {
 public:
  virtual ~StoreHome() = default;

  /// Opens the store, which is empty at first. `max_bytes` is the approximate size of its medium, 0 means large. Fails
  /// while it is open.
  virtual absl::StatusOr<OpenStore> Open(int64_t max_bytes) = 0;
  /// Damages the stored data while the store is not open.
  virtual void Damage() = 0;
  /// Returns true if Backup works. Otherwise the server's own tools make backups.
  virtual bool CanCopy() const = 0;
  /// Opens a copy made by Backup.
  virtual absl::StatusOr<OpenStore> OpenCopy(const std::filesystem::path& file) = 0;
};

struct StoreKind {
  std::string name;
  std::function<std::unique_ptr<StoreHome>()> make;
};

inline std::ostream& operator<<(std::ostream& out, const StoreKind& kind) { return out << kind.name; }

/// All kinds of stores. Add a new store here.
std::vector<StoreKind> StoreKinds();

}  // namespace regroup
