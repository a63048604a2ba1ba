#pragma once
// The bytes behind realised tensors: our own block or somebody else's memory, shared by reference.

#include <cstdint>
#include <memory>

namespace coregrad {

/// Memory that a realised tensor reads. Never written after it was filled.
class Buffer {
 public:
  /// A block of our allocator, at least `bytes` long.
  static std::shared_ptr<Buffer> allocate(int64_t bytes);
  /// Memory of somebody else that stays valid as long as `owner` lives.
  static std::shared_ptr<Buffer> borrow(void* data, int64_t bytes, std::shared_ptr<void> owner);

  /// No memory: what stands for that of a later call (tensor/trace.h).
  static std::shared_ptr<Buffer> promise();

  bool is_promise() const { return bytes_ < 0; }
  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  Buffer(std::shared_ptr<void> owner, void* data, int64_t bytes)
      : owner_(std::move(owner)), data_(data), bytes_(bytes) {}

  std::shared_ptr<void> owner_;
  void* data_;
  int64_t bytes_;
};

}  // namespace coregrad
