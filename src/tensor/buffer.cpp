#include "tensor/buffer.h"

#include "runtime/allocator.h"

namespace coregrad {

std::shared_ptr<Buffer> Buffer::allocate(int64_t bytes) {
  std::shared_ptr<void> block(coregrad::allocate(bytes), [](void* p) { deallocate(p); });
  void* data = block.get();
  return std::shared_ptr<Buffer>(new Buffer(std::move(block), data, bytes));
}

std::shared_ptr<Buffer> Buffer::borrow(void* data, int64_t bytes, std::shared_ptr<void> owner) {
  return std::shared_ptr<Buffer>(new Buffer(std::move(owner), data, bytes));
}

std::shared_ptr<Buffer> Buffer::promise() {
  return std::shared_ptr<Buffer>(new Buffer(nullptr, nullptr, -1));
}

}  // namespace coregrad
