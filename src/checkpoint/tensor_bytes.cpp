#include "checkpoint/tensor_bytes.h"

#include "coregrad/ops.h"

#include <cstdint>
#include <cstring>

namespace coregrad {

TensorBytes::TensorBytes(const Tensor& tensor) : storage_(tensor.storage()) {
  const auto size = static_cast<size_t>(size_of(tensor.dtype()));
  const auto* const from = static_cast<const std::byte*>(storage_.get());
  const size_t total = static_cast<size_t>(tensor.numel()) * size;
  if (tensor.is_contiguous()) {
    bytes = {from, total};
    return;
  }
  copy_.resize(total);
  const Dims strides = tensor.strides(), &shape = tensor.shape();
  Dims at(shape.size(), 0);
  int64_t offset = 0;
  for (size_t done = 0; done < total; done += size) {
    std::memcpy(copy_.data() + done, from + offset * static_cast<int64_t>(size), size);
    for (size_t d = shape.size(); d-- > 0;) {
      offset += strides[d];
      if (++at[d] < shape[d]) break;
      offset -= strides[d] * shape[d];
      at[d] = 0;
    }
  }
  bytes = copy_;
}

Tensor tensor_over(std::span<const std::byte> bytes, const std::shared_ptr<void>& owner,
                   DType dtype, const Dims& shape) {
  const bool is_aligned =
      reinterpret_cast<uintptr_t>(bytes.data()) % static_cast<size_t>(size_of(dtype)) == 0;
  if (bytes.empty() || !is_aligned || !owner) return from_bytes(bytes.data(), dtype, shape);
  Dims strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
  return from_memory(const_cast<std::byte*>(bytes.data()), static_cast<int64_t>(bytes.size()),
                     dtype, shape, strides, owner);
}

}  // namespace coregrad
