// Tensors from numbers, ranges and memory.

#include "base/checked.h"
#include "coregrad/ops.h"
#include "ir/print.h"
#include "ops/indexing.h"
#include "ops/primitives.h"
#include "tensor/state.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace coregrad {
namespace {

int64_t bytes_of(DType dtype, const Dims& shape, std::string_view operation) {
  return checked_mul(checked_numel(shape, operation), size_of(dtype), operation);
}

Tensor wrap_buffer(std::shared_ptr<Buffer> buffer, DType dtype, const Dims& shape,
                   const Dims& strides = {}) {
  Session& session = Session::global();
  const Session::Lock lock(session);
  session.collect_if_due();
  return wrap(session.add_data(std::move(buffer), dtype, shape, strides), false);
}

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::Float32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::Float64;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::Int32;
}
template <>
constexpr DType dtype_of<int64_t>() {
  return DType::Int64;
}

}  // namespace

Tensor full(const Dims& shape, Scalar value) {
  return record("full", {}, [&](Graph& g, auto) { return ops::full(g, shape, value); });
}

Tensor zeros(const Dims& shape, DType dtype) { return full(shape, Scalar::of(dtype, 0)); }
Tensor ones(const Dims& shape, DType dtype) { return full(shape, Scalar::of(dtype, 1)); }

Tensor arange(double start, double stop, double step, std::optional<DType> given) {
  const auto is_whole = [](double x) { return x == std::trunc(x); };
  const bool is_counted = is_whole(start) && is_whole(stop) && is_whole(step);
  const DType dtype = given.value_or(is_counted ? DType::Int64 : DType::Float32);
  constexpr double kExact = 1LL << 53;  // beyond it a double does not hold every whole number
  if (is_integer(dtype) && std::max({std::abs(start), std::abs(stop), std::abs(step)}) > kExact)
    raise<ValueError>("arange: whole numbers must lie within 2^53: got {} to {} in steps of {}",
                      start, stop, step);
  const double count = step == 0 ? NAN : std::ceil((stop - start) / step);
  if (!std::isfinite(count) || count < 0)
    raise<ValueError>("arange: no steps of {} lead from {} to {}", step, start, stop);
  if (count > 9e15) raise<ShapeError>("arange: {} elements are too many", count);
  if (!is_float(dtype) && !is_integer(dtype))
    raise<DTypeError>("arange: needs a number type, got {}", name_of(dtype));
  return record("arange", {}, [&](Graph& g, auto) {
    const DType work = is_integer(dtype) ? DType::Int64 : DType::Float64;
    return ops::arange(g, dtype, ops::literal(g, work, start), ops::literal(g, work, step),
                       static_cast<int64_t>(count));
  });
}

Tensor linspace(double start, double stop, int64_t count, DType dtype) {
  if (count < 0) raise<ValueError>("linspace: the count must not be negative, got {}", count);
  if (!is_float(dtype)) raise<DTypeError>("linspace: needs a float type, got {}", name_of(dtype));
  const double step = count > 1 ? (stop - start) / static_cast<double>(count - 1) : 0;
  return record("linspace", {}, [&](Graph& g, auto) {
    const auto number = [&](double v) { return ops::literal(g, DType::Float64, v); };
    const NodeId at = ops::cast(g, ops::iota(g, DType::Int64, count), DType::Float64);
    // The second half counts from the end, which makes both ends exact.
    const NodeId from_start = ops::add(g, number(start), ops::mul(g, at, number(step)));
    const NodeId left = ops::sub(g, number(static_cast<double>(count - 1)), at);
    const NodeId from_stop = ops::sub(g, number(stop), ops::mul(g, left, number(step)));
    const NodeId half = number(static_cast<double>(count) / 2);
    const NodeId first = ops::compare(g, Op::Lt, at, half);
    return ops::cast(g, ops::select(g, first, from_start, from_stop), dtype);
  });
}

Tensor eye(int64_t rows, int64_t columns, DType dtype) {
  if (rows < 0 || columns < 0)
    raise<ShapeError>("eye: sizes must not be negative, got {} x {}", rows, columns);
  return record("eye", {}, [&](Graph& g, auto) {
    const NodeId row = ops::unsqueeze(g, ops::iota(g, DType::Int64, rows), 1);
    const NodeId column = ops::unsqueeze(g, ops::iota(g, DType::Int64, columns), 0);
    return ops::cast(g, ops::compare(g, Op::Eq, row, column), dtype);
  });
}

Tensor from_bytes(const void* data, DType dtype, const Dims& shape) {
  const int64_t bytes = bytes_of(dtype, shape, "from_bytes");
  std::shared_ptr<Buffer> buffer = Buffer::allocate(bytes);
  if (bytes > 0) std::memcpy(buffer->data(), data, static_cast<size_t>(bytes));
  return wrap_buffer(std::move(buffer), dtype, shape);
}

template <class T>
Tensor from_vector(std::span<const T> values, const Dims& shape) {
  const int64_t wanted = checked_numel(shape, "from_vector");
  if (wanted != static_cast<int64_t>(values.size()))
    raise<ShapeError>("from_vector: {} has {} elements, got {}", type_text(dtype_of<T>(), shape),
                      wanted, values.size());
  return from_bytes(values.data(), dtype_of<T>(), shape);
}

template Tensor from_vector<float>(std::span<const float>, const Dims&);
template Tensor from_vector<double>(std::span<const double>, const Dims&);
template Tensor from_vector<int32_t>(std::span<const int32_t>, const Dims&);
template Tensor from_vector<int64_t>(std::span<const int64_t>, const Dims&);

Tensor from_memory(void* data, int64_t bytes, DType dtype, const Dims& shape, const Dims& strides,
                   std::shared_ptr<void> owner) {
  if (strides.size() != shape.size())
    raise<LayoutError>("from_memory: {} strides for {} dimensions", strides.size(), shape.size());
  int64_t last = 0;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (strides[i] < 0)
      raise<LayoutError>("from_memory: strides must not be negative, got {} in dimension {}",
                         strides[i], i);
    const int64_t steps = checked_sub(shape[i], 1, "from_memory");
    last = checked_add(last, checked_mul(steps, strides[i], "from_memory"), "from_memory");
  }
  const int64_t span =
      checked_numel(shape, "from_memory") == 0 ? 0 : checked_add(last, 1, "from_memory");
  if (checked_mul(span, size_of(dtype), "from_memory") > bytes)
    raise<LayoutError>("from_memory: {} spans {} elements, the memory has {} bytes",
                       type_text(dtype, shape), span, bytes);
  if (reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(size_of(dtype)) != 0)
    raise<LayoutError>("from_memory: {} must be aligned to its element size", name_of(dtype));
  return wrap_buffer(Buffer::borrow(data, bytes, std::move(owner)), dtype, shape, strides);
}

Tensor scalar_data(Scalar value) {
  static_assert(std::endian::native == std::endian::little);
  const uint64_t bits = value.memory_bits();
  return from_bytes(&bits, value.dtype, {});
}

}  // namespace coregrad
