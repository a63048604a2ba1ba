#pragma once
// Files that are read whole, and files that are written whole or not at all.

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace coregrad {

/// A file's contents, in memory of ours or as its pages.
struct FileBytes {
  std::span<const std::byte> bytes;
  std::shared_ptr<void> owner;
};
/// IoError where it can not be read.
FileBytes read_file(const std::string& path, bool mapped);

/// Writes a file beside `path` that takes its place at commit(). What was written is gone without
/// one; where the file system has files without names, even if the process is killed.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  /// Returns when the file and its name are on the disk.
  void commit();

 private:
  std::string temporary_name() const;
  void open_by_name();
  /// Gives a name to a file that has none.
  void name_it();

  std::string path_, folder_, temporary_;  // temporary_: empty while the file has no name
  int fd_ = -1;
};

}  // namespace coregrad
