#include "tensor_exchange.h"

#include "base/checked.h"
#include "base/error.h"

#include <fmt/ranges.h>

#include <cstring>
#include <optional>

namespace coregrad::python {
namespace {

namespace nb = nanobind;

constexpr uint32_t kMajor = 1;
const dlpack::ExchangeApi* api = nullptr;

const dlpack::ExchangeApi& exchange() {
  if (api == nullptr) raise<UnsupportedError>("tensor exchange: no library is attached");
  return *api;
}

dlpack::DataType data_type(DType dtype) {
  const auto bits = static_cast<uint8_t>(8 * size_of(dtype));
  if (dtype == DType::Bool) return {6, bits, 1};
  return {static_cast<uint8_t>(is_float(dtype) ? 2 : 0), bits, 1};
}

/// A managed tensor, its layout and what it keeps alive, in one allocation.
struct Holder {
  dlpack::ManagedTensor managed;
  std::vector<int64_t> shape, strides;
  MemoryOwner owner;
};

nb::object to_object(void* data, MemoryOwner owner, const TensorSpec& spec) {
  auto* holder = new Holder{{}, spec.shape, spec.strides, std::move(owner)};
  holder->managed.version = {kMajor, 0};
  holder->managed.manager = holder;
  holder->managed.deleter = [](dlpack::ManagedTensor* self) {
    delete static_cast<Holder*>(self->manager);
  };
  holder->managed.tensor = {data,
                            {dlpack::kCpu, 0},
                            static_cast<int32_t>(spec.shape.size()),
                            data_type(spec.dtype),
                            holder->shape.data(),
                            holder->strides.data(),
                            0};
  void* object = nullptr;
  if (exchange().managed_to_object(&holder->managed, &object) != 0) nb::raise_python_error();
  return nb::steal(static_cast<PyObject*>(object));
}

std::optional<DType> dtype_of(dlpack::DataType type) {
  for (int i = 0; i < kNumDTypes; ++i) {
    const dlpack::DataType ours = data_type(static_cast<DType>(i));
    if (ours.code == type.code && ours.bits == type.bits && type.lanes == 1)
      return static_cast<DType>(i);
  }
  return std::nullopt;
}

}  // namespace

std::vector<int64_t> contiguous_strides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = step;
    step = checked_mul(step, std::max<int64_t>(shape[i], 1), "strides");
  }
  return strides;
}

TensorSpec TensorSpec::make(DType dtype, std::vector<int64_t> shape, std::vector<int64_t> strides) {
  TensorSpec spec;
  spec.dtype = dtype;
  spec.strides = strides.empty() ? contiguous_strides(shape) : std::move(strides);
  if (spec.strides.size() != shape.size())
    raise<LayoutError>("layout: {} strides for {} dimensions", spec.strides.size(), shape.size());
  spec.span = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) {
      spec.span = 0;
      break;
    }
    if (spec.strides[i] < 0) raise<LayoutError>("layout: negative stride {}", spec.strides[i]);
    spec.span =
        checked_add(spec.span, checked_mul(shape[i] - 1, spec.strides[i], "layout"), "layout");
  }
  checked_mul(spec.span, size_of(dtype), "layout");
  spec.shape = std::move(shape);
  return spec;
}

void attach_exchange_api(nb::handle capsule) {
  const auto* table = static_cast<const dlpack::ExchangeApi*>(
      PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (table == nullptr) nb::raise_python_error();
  if (table->version.major != kMajor)
    raise<UnsupportedError>("tensor exchange: DLPack {}.{} is not supported, version 1 is needed",
                            table->version.major, table->version.minor);
  if (table->managed_to_object == nullptr || table->borrow_from_object == nullptr)
    raise<UnsupportedError>("tensor exchange: the library's DLPack table lacks entries");
  api = table;
}

dlpack::Tensor borrow_tensor(PyObject* object) {
  dlpack::Tensor tensor{};
  if (exchange().borrow_from_object(object, &tensor) != 0) nb::raise_python_error();
  if (tensor.device.type != dlpack::kCpu)
    raise<DTypeError>("tensor exchange: a CPU tensor is needed, got device type {}",
                      tensor.device.type);
  return tensor;
}

bool has_type(const dlpack::Tensor& tensor, const TensorSpec& spec) {
  const dlpack::DataType want = data_type(spec.dtype);
  return tensor.dtype.code == want.code && tensor.dtype.bits == want.bits &&
         tensor.dtype.lanes == 1 && static_cast<size_t>(tensor.ndim) == spec.shape.size() &&
         std::equal(spec.shape.begin(), spec.shape.end(), tensor.shape);
}

bool has_strides(const dlpack::Tensor& tensor, const TensorSpec& spec) {
  if (spec.span == 0) return true;
  if (tensor.strides == nullptr) return spec.strides == contiguous_strides(spec.shape);
  for (size_t i = 0; i < spec.shape.size(); ++i)
    if (spec.shape[i] > 1 && tensor.strides[i] != spec.strides[i]) return false;
  return true;
}

std::string describe_tensor(const dlpack::Tensor& tensor) {
  const std::optional<DType> dtype = dtype_of(tensor.dtype);
  const std::vector<int64_t> shape(tensor.shape, tensor.shape + tensor.ndim);
  std::vector<int64_t> strides = tensor.strides == nullptr
                                     ? contiguous_strides(shape)
                                     : std::vector(tensor.strides, tensor.strides + tensor.ndim);
  return fmt::format("{}[{}] with strides [{}]",
                     dtype ? std::string(name_of(*dtype))
                           : fmt::format("type {}/{}", tensor.dtype.code, tensor.dtype.bits),
                     fmt::join(shape, ","), fmt::join(strides, ","));
}

void copy_to_layout(const dlpack::Tensor& tensor, const TensorSpec& spec, void* to) {
  if (spec.span == 0) return;
  const auto size = static_cast<size_t>(size_of(spec.dtype));
  const size_t rank = spec.shape.size();
  const std::vector<int64_t> from_strides =
      tensor.strides == nullptr ? contiguous_strides(spec.shape)
                                : std::vector(tensor.strides, tensor.strides + tensor.ndim);
  const auto* from = static_cast<const std::byte*>(tensor.data) + tensor.byte_offset;
  auto* out = static_cast<std::byte*>(to);
  std::vector<int64_t> at(rank, 0);
  int64_t source = 0, target = 0;
  for (;;) {
    std::memcpy(out + target * static_cast<int64_t>(size),
                from + source * static_cast<int64_t>(size), size);
    size_t d = rank;
    while (d-- > 0) {
      source += from_strides[d];
      target += spec.strides[d];
      if (++at[d] < spec.shape[d]) break;
      source -= from_strides[d] * at[d];
      target -= spec.strides[d] * at[d];
      at[d] = 0;
    }
    if (d == SIZE_MAX) return;
  }
}

nb::object view_memory(void* data, const TensorSpec& spec) {
  return to_object(data, MemoryOwner(), spec);
}

nb::object adopt_block(Block block, const TensorSpec& spec) {
  void* data = block.get();
  return to_object(data, MemoryOwner(std::move(block)), spec);
}

}  // namespace coregrad::python
