#pragma once
// An array of run-time size that lives on the stack when it is small: calls allocate nothing.

#include <array>
#include <cstddef>
#include <memory>
#include <span>

namespace coregrad::python {

/// `size` value-initialised elements, on the stack up to N of them.
template <class T, size_t N>
class SmallArray {
 public:
  explicit SmallArray(size_t size) : size_(size) {
    if (size > N) heap_ = std::make_unique<T[]>(size);
    data_ = size > N ? heap_.get() : stack_.data();
  }
  SmallArray(const SmallArray&) = delete;
  SmallArray& operator=(const SmallArray&) = delete;

  T* data() { return data_; }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return data_[i]; }
  std::span<T> span() { return {data_, size_}; }

 private:
  size_t size_;
  std::array<T, N> stack_{};
  std::unique_ptr<T[]> heap_;
  T* data_;
};

}  // namespace coregrad::python
