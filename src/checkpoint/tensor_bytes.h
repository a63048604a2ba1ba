#pragma once
// Tensors as the bytes of files.

#include "coregrad/tensor.h"

#include "checkpoint/file.h"
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace coregrad {

/// The elements row by row, in the tensor's memory where they lie so.
struct TensorBytes {
  explicit TensorBytes(const Tensor& tensor);

  std::span<const std::byte> bytes;

 private:
  std::shared_ptr<const void> storage_;
  std::vector<std::byte> copy_;
};

/// A tensor over a part of a file; of a copy of it where it is not aligned.
Tensor tensor_over(std::span<const std::byte> bytes, const std::shared_ptr<void>& owner,
                   DType dtype, const Dims& shape);

}  // namespace coregrad
