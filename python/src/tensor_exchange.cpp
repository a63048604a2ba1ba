#include "tensor_exchange.h"

#include "base/checked.h"
#include "base/error.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>
#include <optional>
#include <utility>

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
  if (dtype == DType::BFloat16) return {4, bits, 1};
  if (is_integer(dtype) && is_unsigned(dtype)) return {1, bits, 1};
  return {static_cast<uint8_t>(is_float(dtype) ? 2 : 0), bits, 1};
}

/// A managed tensor and what it keeps alive; its shape and strides follow in the same allocation.
struct Holder {
  dlpack::ManagedTensor managed{};
  MemoryOwner owner;

  int64_t* layout() { return reinterpret_cast<int64_t*>(this + 1); }
  static Holder* make(MemoryOwner owner, size_t rank) {
    void* memory = ::operator new(sizeof(Holder) + 2 * rank * sizeof(int64_t));
    return new (memory) Holder{.owner = std::move(owner)};
  }
  static void destroy(dlpack::ManagedTensor* self) {
    auto* holder = static_cast<Holder*>(self->manager);
    holder->~Holder();
    ::operator delete(holder);
  }
};
static_assert(sizeof(Holder) % alignof(int64_t) == 0);

nb::object to_object(void* data, MemoryOwner owner, const TensorSpec& spec) {
  const size_t rank = spec.shape.size();
  Holder* holder = Holder::make(std::move(owner), rank);
  int64_t* const shape = holder->layout();
  int64_t* const strides = shape + rank;
  std::copy(spec.shape.begin(), spec.shape.end(), shape);
  std::copy(spec.strides.begin(), spec.strides.end(), strides);
  holder->managed.version = {kMajor, 0};
  holder->managed.manager = holder;
  holder->managed.deleter = Holder::destroy;
  holder->managed.tensor = {
      data, {dlpack::kCpu, 0}, static_cast<int32_t>(rank), data_type(spec.dtype), shape, strides,
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

bool has_same_strides(const dlpack::Tensor& tensor, const TensorSpec& spec) {
  return tensor.strides != nullptr &&
         std::equal(spec.strides.begin(), spec.strides.end(), tensor.strides);
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

namespace {

/// One line of a copy, of elements of T's size; a line that repeats one element is a fill.
template <class T>
void copy_line(const std::byte* from, int64_t from_stride, std::byte* to, int64_t to_stride,
               int64_t count) {
  const auto* source = reinterpret_cast<const T*>(from);
  auto* target = reinterpret_cast<T*>(to);
  if (from_stride == 0 && to_stride == 1) {
    std::fill_n(target, count, *source);
  } else if (from_stride == 1 && to_stride == 1) {
    std::memcpy(target, source, static_cast<size_t>(count) * sizeof(T));
  } else {
    for (int64_t i = 0; i < count; ++i) target[i * to_stride] = source[i * from_stride];
  }
}

}  // namespace

void copy_to_layout(const dlpack::Tensor& tensor, const TensorSpec& spec, void* to) {
  if (spec.span == 0) return;
  const int64_t size = size_of(spec.dtype);
  const std::vector<int64_t> from_strides =
      tensor.strides == nullptr ? contiguous_strides(spec.shape)
                                : std::vector(tensor.strides, tensor.strides + tensor.ndim);
  // Dimensions in the order of the target's memory, so that lines are written front to back.
  std::vector<size_t> order(spec.shape.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::erase_if(order, [&](size_t d) { return spec.shape[d] == 1; });
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return spec.strides[a] > spec.strides[b]; });
  int64_t count = 1, from_stride = 1, to_stride = 1;
  if (!order.empty()) {
    count = spec.shape[order.back()];
    from_stride = from_strides[order.back()];
    to_stride = spec.strides[order.back()];
    order.pop_back();
  }
  const auto copy = size == 8   ? copy_line<uint64_t>
                    : size == 4 ? copy_line<uint32_t>
                    : size == 2 ? copy_line<uint16_t>
                                : copy_line<uint8_t>;
  COREGRAD_CHECK(size == 8 || size == 4 || size == 2 || size == 1);
  const auto* from = static_cast<const std::byte*>(tensor.data) + tensor.byte_offset;
  auto* out = static_cast<std::byte*>(to);
  std::vector<int64_t> at(order.size(), 0);
  int64_t source = 0, target = 0;
  for (;;) {
    copy(from + source * size, from_stride, out + target * size, to_stride, count);
    size_t i = order.size();
    while (i-- > 0) {
      const size_t d = order[i];
      source += from_strides[d];
      target += spec.strides[d];
      if (++at[i] < spec.shape[d]) break;
      source -= from_strides[d] * at[i];
      target -= spec.strides[d] * at[i];
      at[i] = 0;
    }
    if (i == SIZE_MAX) return;
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
