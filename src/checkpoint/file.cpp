#include "checkpoint/file.h"

#include "base/error.h"

#include <fmt/format.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <string_view>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace coregrad {
namespace {

[[noreturn]] void fail(std::string_view what, const std::string& path) {
  const int code = errno;
  raise<IoError>("{} {}: {}", what, path, std::strerror(code));
}

/// Closes a descriptor where a function is left.
struct Closer {
  int fd;
  ~Closer() { close(fd); }
};

void sync_or_fail(int fd, const std::string& path) {
  while (fsync(fd) != 0)
    if (errno != EINTR) fail("cannot write to the disk", path);
}

}  // namespace

FileBytes read_file(const std::string& path, bool mapped) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail("cannot open", path);
  const Closer closer{fd};
  struct stat info{};
  if (fstat(fd, &info) != 0) fail("cannot read", path);
  if (!S_ISREG(info.st_mode)) raise<IoError>("cannot read {}: it is no file", path);
  const auto size = static_cast<size_t>(info.st_size);
  if (size == 0) return {};
  if (mapped) {
    void* const data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) fail("cannot map", path);
    std::shared_ptr<void> owner(data, [size](void* p) { munmap(p, size); });
    return {{static_cast<const std::byte*>(data), size}, std::move(owner)};
  }
  // Pages of its own: tensors in it are aligned as in the file.
  void* const data =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) raise<OutOfMemoryError>("{}: no memory for {} bytes", path, size);
  std::shared_ptr<void> owner(data, [size](void* p) { munmap(p, size); });
  for (size_t at = 0; at < size;) {
    const ssize_t got = read(fd, static_cast<std::byte*>(data) + at, size - at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("cannot read", path);
    if (got == 0) raise<IoError>("cannot read {}: it became shorter meanwhile", path);
    at += static_cast<size_t>(got);
  }
  return {{static_cast<const std::byte*>(data), size}, std::move(owner)};
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  folder_ = std::filesystem::path(path_).parent_path().string();
  if (folder_.empty()) folder_ = ".";
  static std::atomic<unsigned> files{0};
  const std::string name =
      fmt::format("{}/.{}.{}.{}.tmp", folder_, std::filesystem::path(path_).filename().string(),
                  getpid(), ++files);
  fd_ = open(folder_.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
  if (fd_ >= 0) {
    temporary_.clear();
    return;
  }
  fd_ = open(name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
  if (fd_ < 0) fail("cannot write", path_);
  temporary_ = name;
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) close(fd_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(fd_, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("cannot write", path_);
    bytes = bytes.subspan(static_cast<size_t>(done));
  }
}

void AtomicFile::link_by_name() {
  static std::atomic<unsigned> links{0};
  const std::string file = fmt::format("/proc/self/fd/{}", fd_);
  std::string name =
      fmt::format("{}/.{}.{}.{}.link", folder_, std::filesystem::path(path_).filename().string(),
                  getpid(), ++links);
  if (linkat(AT_FDCWD, file.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) != 0)
    fail("cannot name", path_);
  temporary_ = std::move(name);
}

void AtomicFile::commit() {
  sync_or_fail(fd_, path_);
  if (temporary_.empty()) link_by_name();
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot replace", path_);
  temporary_.clear();
  const int folder = open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) fail("cannot open the folder of", path_);
  const Closer closer{folder};
  sync_or_fail(folder, path_);
}

}  // namespace coregrad
