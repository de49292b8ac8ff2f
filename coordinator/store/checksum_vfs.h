// A checksum in every page of a SQLite file, so that a flipped bit is noticed when its page is read.
//
// It lies between SQLite and the file ("VFS"): a page that is written gets a checksum of its content and its number in
// its last 8 bytes, which SQLite leaves alone (the header's reserved bytes), and a page that is read is compared with
// it. The write-ahead log has checksums of its own. A page without a checksum, which is what another program leaves
// that writes to the file, is accepted and counted; SQLite's own shell can read the file.
//
// Functions may be called from any thread.
#pragma once

#include <cstdint>

struct sqlite3;

namespace regroup {

/// Bytes at the end of each page that hold its checksum.
inline constexpr int kChecksumBytes = 8;

/// Returns the name to open files with; registers it with SQLite on the first call. Null if SQLite has no file system.
const char* ChecksumVfs();

/// Gives every page of the main file of a connection a checksum from now on. For files without content: an older file
/// must be rewritten (VACUUM) with kChecksumBytes reserved.
void ChecksumEveryPage(sqlite3* connection);

/// Returns the number of pages that this connection has read and that had no checksum although the file has them.
int64_t PagesWithoutChecksum(sqlite3* connection);

/// Returns the number of the page, from 1, that this thread found damaged last.
int64_t LastDamagedPage();

}  // namespace regroup
