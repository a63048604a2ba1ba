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
#include <vector>

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
  fd_ = open(folder_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
  if (fd_ < 0) open_by_name();
}

std::string AtomicFile::temporary_name() const {
  static std::atomic<unsigned> names{0};
  return fmt::format("{}/.{}.{}.{}.tmp", folder_, std::filesystem::path(path_).filename().string(),
                     getpid(), ++names);
}

void AtomicFile::open_by_name() {
  std::string name = temporary_name();
  fd_ = open(name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
  if (fd_ < 0) fail("cannot write", path_);
  temporary_ = std::move(name);
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

void AtomicFile::name_it() {
  std::string name = temporary_name();
  const std::string file = fmt::format("/proc/self/fd/{}", fd_);
  if (linkat(AT_FDCWD, file.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
    temporary_ = std::move(name);
    return;
  }
  // A file system, or a process without /proc, that cannot: the bytes go to a file with a name.
  const Closer nameless{fd_};
  open_by_name();
  std::vector<std::byte> part(size_t{1} << 20);
  for (off_t at = 0;;) {
    const ssize_t got = pread(nameless.fd, part.data(), part.size(), at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("cannot read", path_);
    if (got == 0) break;
    write(std::span(part).first(static_cast<size_t>(got)));
    at += got;
  }
  sync_or_fail(fd_, path_);
}

void AtomicFile::commit() {
  sync_or_fail(fd_, path_);
  if (temporary_.empty()) name_it();
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot replace", path_);
  temporary_.clear();
  const int folder = open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) fail("cannot open the folder of", path_);
  const Closer closer{folder};
  sync_or_fail(folder, path_);
}

}  // namespace coregrad
