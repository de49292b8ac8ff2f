#include "coordinator/store/checksum_vfs.h"

#include <sqlite3.h>

#include <array>
#include <bit>
#include <cstring>
#include <vector>

namespace regroup {
namespace {

constexpr char kName[] = "regroup-checksums";
/// Codes of sqlite3_file_control that only this file knows.
constexpr int kEveryPage = 0x52470001;
constexpr int kPagesWithout = 0x52470002;
constexpr int kHeaderBytes = 100;
constexpr int kReservedByteAt = 20;
constexpr int kSmallestPage = 512;
constexpr char kMagic[] = "SQLite format 3";

thread_local int64_t g_damaged_page = 0;

/// The main file of a database. Other files, such as the log, are SQLite's own.
struct File {
  sqlite3_file base;
  bool has_checksums;
  int64_t pages_without;
  // The file of the underlying file system follows.
};

sqlite3_file* Below(sqlite3_file* file) {
  return reinterpret_cast<sqlite3_file*>(reinterpret_cast<char*>(file) + sizeof(File));
}
File* Of(sqlite3_file* file) { return reinterpret_cast<File*>(file); }
sqlite3_vfs* SystemOf(sqlite3_vfs* vfs) { return static_cast<sqlite3_vfs*>(vfs->pAppData); }

/// Returns a checksum of the content and of the number that any single flipped bit changes. It has at least two bits,
/// so that no flipped bit makes it 0, which stands for none.
uint64_t ChecksumOf(const unsigned char* page, int bytes, int64_t number) {
  uint32_t first = static_cast<uint32_t>(number);
  uint32_t second = static_cast<uint32_t>(number >> 32);
  for (int i = 0; i + 8 <= bytes; i += 8) {
    std::array<uint32_t, 2> words;
    std::memcpy(words.data(), page + i, sizeof words);
    // As SQLite sums its log. Each step maps differences of both sums one to one, so that none is ever lost.
    first += words[0] + second;
    second += words[1] + first;
  }
  const uint64_t sum = uint64_t{first} << 32U | second;
  return std::popcount(sum) < 2 ? ~sum : sum;
}

bool IsPage(int bytes, sqlite3_int64 offset) {
  return bytes >= kSmallestPage && (bytes & (bytes - 1)) == 0 && offset % bytes == 0;
}

void NoteHeader(File* file, const void* start, int bytes) {
  const auto* header = static_cast<const unsigned char*>(start);
  if (bytes < kHeaderBytes || std::memcmp(header, kMagic, sizeof kMagic) != 0) return;
  file->has_checksums = header[kReservedByteAt] == kChecksumBytes;
}

int Read(sqlite3_file* raw, void* to, int bytes, sqlite3_int64 offset) {
  File* const file = Of(raw);
  const int code = Below(raw)->pMethods->xRead(Below(raw), to, bytes, offset);
  if (code != SQLITE_OK) return code;
  if (offset == 0) NoteHeader(file, to, bytes);
  if (!file->has_checksums || !IsPage(bytes, offset)) return code;
  auto* const page = static_cast<unsigned char*>(to);
  const int64_t number = offset / bytes + 1;
  uint64_t stored = 0;
  std::memcpy(&stored, page + bytes - kChecksumBytes, sizeof stored);
  if (stored == 0) {
    ++file->pages_without;
    return code;
  }
  if (stored != ChecksumOf(page, bytes - kChecksumBytes, number)) {
    g_damaged_page = number;
    return SQLITE_IOERR_DATA;
  }
  // SQLite copies the page to its log with these bytes: there they must not look like the checksum of a later content.
  std::memset(page + bytes - kChecksumBytes, 0, kChecksumBytes);
  return code;
}

int Write(sqlite3_file* raw, const void* from, int bytes, sqlite3_int64 offset) {
  File* const file = Of(raw);
  if (offset == 0) NoteHeader(file, from, bytes);
  if (!file->has_checksums || !IsPage(bytes, offset)) {
    return Below(raw)->pMethods->xWrite(Below(raw), from, bytes, offset);
  }
  thread_local std::vector<unsigned char> page;
  const auto* content = static_cast<const unsigned char*>(from);
  page.assign(content, content + bytes);
  const uint64_t sum = ChecksumOf(page.data(), bytes - kChecksumBytes, offset / bytes + 1);
  std::memcpy(page.data() + bytes - kChecksumBytes, &sum, sizeof sum);
  return Below(raw)->pMethods->xWrite(Below(raw), page.data(), bytes, offset);
}

int Control(sqlite3_file* raw, int code, void* argument) {
  if (code == kEveryPage) {
    Of(raw)->has_checksums = true;
    return SQLITE_OK;
  }
  if (code == kPagesWithout) {
    *static_cast<int64_t*>(argument) = Of(raw)->pages_without;
    return SQLITE_OK;
  }
  return Below(raw)->pMethods->xFileControl(Below(raw), code, argument);
}

// The functions from here to ShmUnmap pass their arguments on as they are.

int Close(sqlite3_file* file) { return Below(file)->pMethods->xClose(Below(file)); }
int Truncate(sqlite3_file* file, sqlite3_int64 size) { return Below(file)->pMethods->xTruncate(Below(file), size); }
int Sync(sqlite3_file* file, int flags) { return Below(file)->pMethods->xSync(Below(file), flags); }
int FileSize(sqlite3_file* file, sqlite3_int64* size) { return Below(file)->pMethods->xFileSize(Below(file), size); }
int Lock(sqlite3_file* file, int level) { return Below(file)->pMethods->xLock(Below(file), level); }
int Unlock(sqlite3_file* file, int level) { return Below(file)->pMethods->xUnlock(Below(file), level); }
int CheckLock(sqlite3_file* file, int* held) { return Below(file)->pMethods->xCheckReservedLock(Below(file), held); }
int SectorSize(sqlite3_file* file) { return Below(file)->pMethods->xSectorSize(Below(file)); }
int Traits(sqlite3_file* file) { return Below(file)->pMethods->xDeviceCharacteristics(Below(file)); }
int ShmMap(sqlite3_file* file, int region, int bytes, int extend, void volatile** map) {
  return Below(file)->pMethods->xShmMap(Below(file), region, bytes, extend, map);
}
int ShmLock(sqlite3_file* file, int offset, int count, int flags) {
  return Below(file)->pMethods->xShmLock(Below(file), offset, count, flags);
}
void ShmBarrier(sqlite3_file* file) { Below(file)->pMethods->xShmBarrier(Below(file)); }
int ShmUnmap(sqlite3_file* file, int remove) { return Below(file)->pMethods->xShmUnmap(Below(file), remove); }

/// Version 2: pages that are mapped into memory would pass by Read.
constexpr sqlite3_io_methods kMethods = {2,       Close,      Read,      Write,   Truncate,   Sync,   FileSize,
                                         Lock,    Unlock,     CheckLock, Control, SectorSize, Traits, ShmMap,
                                         ShmLock, ShmBarrier, ShmUnmap,  nullptr, nullptr};

int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* opened) {
  sqlite3_vfs* const system = SystemOf(vfs);
  if ((flags & SQLITE_OPEN_MAIN_DB) == 0) return system->xOpen(system, name, file, flags, opened);
  std::memset(file, 0, sizeof(File));
  const int code = system->xOpen(system, name, Below(file), flags, opened);
  // SQLite closes a file that has methods, even if it could not be opened.
  if (Below(file)->pMethods != nullptr) file->pMethods = &kMethods;
  return code;
}

sqlite3_vfs* Register() {
  sqlite3_vfs* const system = sqlite3_vfs_find(nullptr);
  if (system == nullptr) return nullptr;
  // Everything but opening is the file system's, which finds its own data in the copy.
  static sqlite3_vfs vfs = *system;
  vfs.szOsFile = static_cast<int>(sizeof(File)) + system->szOsFile;
  vfs.pNext = nullptr;
  vfs.zName = kName;
  vfs.pAppData = system;
  vfs.xOpen = Open;
  return sqlite3_vfs_register(&vfs, 0) == SQLITE_OK ? &vfs : nullptr;
}

}  // namespace

const char* ChecksumVfs() {
  static const sqlite3_vfs* const vfs = Register();
  return vfs == nullptr ? nullptr : vfs->zName;
}

void ChecksumEveryPage(sqlite3* connection) { sqlite3_file_control(connection, "main", kEveryPage, nullptr); }

int64_t PagesWithoutChecksum(sqlite3* connection) {
  int64_t pages = 0;
  sqlite3_file_control(connection, "main", kPagesWithout, &pages);
  return pages;
}

int64_t LastDamagedPage() { return g_damaged_page; }

}  // namespace regroup
