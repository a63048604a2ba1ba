#pragma once
// Tensors of an array library in and out, over its DLPack exchange table: no Python call a tensor,
// no link against the library.

#include "coregrad/dtype.h"
#include "runtime/allocator.h"

#include <nanobind/nanobind.h>

#include "dlpack_abi.h"
#include "memory_owner.h"
#include <cstdint>
#include <vector>

namespace coregrad::python {

/// Layout of one tensor at the border of a program; strides are in elements.
struct TensorSpec {
  DType dtype = DType::Float32;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;
  int64_t span = 0;  ///< elements from the first to one past the last

  static TensorSpec make(DType dtype, std::vector<int64_t> shape, std::vector<int64_t> strides);
  int64_t bytes() const { return span * size_of(dtype); }
};

/// Row-major strides of a shape, in elements.
std::vector<int64_t> contiguous_strides(const std::vector<int64_t>& shape);

/// Uses the table in a capsule named `dlpack_exchange_api`. UnsupportedError if its version is
/// unknown.
void attach_exchange_api(nanobind::handle capsule);

/// The tensor's pointer and layout, valid while the object lives. DTypeError if it is not a CPU
/// tensor.
dlpack::Tensor borrow_tensor(PyObject* object);
/// True when the tensor has the spec's dtype and shape.
bool has_type(const dlpack::Tensor& tensor, const TensorSpec& spec);
/// True when strides agree wherever they matter (extent above one).
bool has_strides(const dlpack::Tensor& tensor, const TensorSpec& spec);
/// True when all strides agree, also those that do not matter: such a tensor is what it seems.
bool has_same_strides(const dlpack::Tensor& tensor, const TensorSpec& spec);
/// "float32[2,3]" with strides, for messages.
std::string describe_tensor(const dlpack::Tensor& tensor);
/// Copies the elements into memory laid out as `spec` says.
void copy_to_layout(const dlpack::Tensor& tensor, const TensorSpec& spec, void* to);

/// A tensor over memory that somebody else keeps alive.
nanobind::object view_memory(void* data, const TensorSpec& spec);
/// A tensor that owns the block.
nanobind::object adopt_block(Block block, const TensorSpec& spec);

}  // namespace coregrad::python
