// Tensors from numbers, ranges and memory.

#include "base/checked.h"
#include "coregrad/ops.h"
#include "ir/print.h"
#include "ops/indexing.h"
#include "ops/primitives.h"
#include "tensor/recorded.h"

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

/// How many numbers start, start + step, .. lie before stop: negative or NaN where none lead there.
double steps_between(int64_t start, int64_t stop, int64_t step) {
  if (step == 0) return NAN;
  // Differences of int64 do not fit into one.
  const __int128 way = static_cast<__int128>(stop) - start;
  const __int128 whole = way / step;
  return static_cast<double>(whole + (whole * step != way && (way < 0) == (step < 0) ? 1 : 0));
}

}  // namespace

Tensor full(const Dims& shape, Scalar value) {
  for (const int64_t extent : shape)
    if (extent < 0) raise<ShapeError>("full: extents must not be negative, got {}", extent);
  return record("full", {}, [&](Graph& g, auto) { return ops::full(g, shape, value); });
}

Tensor full(const Dims& shape, Number value, std::optional<DType> given) {
  const DType dtype = given.value_or(value.dtype());
  if (is_integer(dtype) && !value.is_floating() && !Scalar::holds(dtype, value.value().i))
    raise<ValueError>("full: the number does not fit {}: got {}", name_of(dtype), value.value().i);
  return full(shape, convert(value.value(), dtype));
}

Tensor zeros(const Dims& shape, DType dtype) { return full(shape, Scalar::of(dtype, 0)); }
Tensor ones(const Dims& shape, DType dtype) { return full(shape, Scalar::of(dtype, 1)); }

Tensor arange(Number start, Number stop, Number step, std::optional<DType> given) {
  const bool is_counted = !start.is_floating() && !stop.is_floating() && !step.is_floating();
  const DType dtype = given.value_or(is_counted ? DType::Int64 : DType::Float32);
  if (!is_float(dtype) && !is_integer(dtype))
    raise<DTypeError>("arange: needs a number type, got {}", name_of(dtype));
  // Beyond 2^53 a double does not hold every whole number.
  const auto is_whole = [](Number x) {
    return !x.is_floating() ||
           (x.to_double() == std::trunc(x.to_double()) && std::abs(x.to_double()) <= 1LL << 53);
  };
  const bool in_whole = is_counted || is_integer(dtype);
  if (in_whole && !(is_whole(start) && is_whole(stop) && is_whole(step)))
    raise<ValueError>(
        "arange: {} takes whole numbers, floating ones up to 2^53: got {} to {} in "
        "steps of {}",
        name_of(dtype), start.to_double(), stop.to_double(), step.to_double());
  const DType work = in_whole ? DType::Int64 : DType::Float64;
  const Scalar first = convert(start.value(), work), by = convert(step.value(), work);
  const double count = in_whole ? steps_between(first.i, convert(stop.value(), work).i, by.i)
                                : std::ceil((stop.to_double() - first.f) / by.f);
  if (!std::isfinite(count) || count < 0)
    raise<ValueError>("arange: no steps of {} lead from {} to {}", step.to_double(),
                      start.to_double(), stop.to_double());
  if (count > 9e15) raise<ShapeError>("arange: {} elements are too many", count);
  return record("arange", {}, [&](Graph& g, auto) {
    return ops::arange(g, dtype, ops::literal(g, first), ops::literal(g, by),
                       static_cast<int64_t>(count));
  });
}

Tensor linspace(double start, double stop, int64_t count, DType dtype, bool endpoint) {
  if (count < 0) raise<ValueError>("linspace: the count must not be negative, got {}", count);
  if (!is_float(dtype)) raise<DTypeError>("linspace: needs a float type, got {}", name_of(dtype));
  const auto steps = static_cast<double>(endpoint ? count - 1 : count);
  const double step = steps > 0 ? (stop - start) / steps : 0;
  return record("linspace", {}, [&](Graph& g, auto) {
    const auto number = [&](double v) { return ops::literal(g, DType::Float64, v); };
    const NodeId at = ops::cast(g, ops::iota(g, DType::Int64, count), DType::Float64);
    // The second half counts from the end, which makes both ends exact.
    const NodeId from_start = ops::add(g, number(start), ops::mul(g, at, number(step)));
    const NodeId left = ops::sub(g, number(steps), at);
    const NodeId from_stop = ops::sub(g, number(stop), ops::mul(g, left, number(step)));
    const NodeId half = number((steps + 1) / 2);
    const NodeId first = ops::compare(g, Op::Lt, at, half);
    return ops::cast(g, ops::select(g, first, from_start, from_stop), dtype);
  });
}

Tensor eye(int64_t rows, int64_t columns, DType dtype, int64_t k) {
  if (rows < 0 || columns < 0)
    raise<ShapeError>("eye: sizes must not be negative, got {} x {}", rows, columns);
  return record("eye", {}, [&](Graph& g, auto) {
    const NodeId column = ops::unsqueeze(g, ops::iota(g, DType::Int64, columns), 0);
    const NodeId row = ops::unsqueeze(g, ops::iota(g, DType::Int64, rows), 1);
    const NodeId diagonal = ops::add(g, row, ops::literal(g, Scalar::of_int(DType::Int64, k)));
    return ops::cast(g, ops::compare(g, Op::Eq, diagonal, column), dtype);
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
