#include "coregrad/random.h"

#include "base/hash.h"
#include "coregrad/ops.h"
#include "ops/operators.h"
#include "ops/primitives.h"
#include "tensor/state.h"

#include <numbers>

namespace coregrad {

void Generator::manual_seed(uint64_t seed) {
  const std::lock_guard lock(mutex_);
  seed_ = seed;
  position_ = 0;
}

int64_t Generator::next() {
  const std::lock_guard lock(mutex_);
  const uint64_t input[2] = {seed_, position_++};
  return static_cast<int64_t>(hash_bytes(input, sizeof input));
}

uint64_t Generator::position() const {
  const std::lock_guard lock(mutex_);
  return position_;
}

void Generator::set_position(uint64_t position) {
  const std::lock_guard lock(mutex_);
  position_ = position;
}

Generator& default_generator() {
  static Generator generator;
  return generator;
}

namespace {

/// The seed is data, so that the next call has the same structure and finds its plan.
Tensor seed_data(Generator& generator) {
  return scalar_data(Scalar::of_int(DType::Int64, generator.next()));
}

void require_float(DType dtype, std::string_view operation) {
  if (!is_float(dtype))
    raise<DTypeError>("{}: needs a float type, got {}", operation, name_of(dtype));
}

}  // namespace

Tensor rand(const Dims& shape, DType dtype, Generator& generator) {
  require_float(dtype, "rand");
  return record("rand", {seed_data(generator)}, [&](Graph& g, std::span<const NodeId> n) {
    return ops::random(g, n[0], dtype, shape, 0);
  });
}

Tensor randn(const Dims& shape, DType dtype, Generator& generator) {
  require_float(dtype, "randn");
  return record("randn", {seed_data(generator)}, [&](Graph& g, std::span<const NodeId> n) {
    const DType work = compute_dtype(dtype);
    // Box and Muller's transform; 1 - u lies in (0, 1], where the logarithm is finite.
    const NodeId one = ops::literal(g, work, 1);
    const NodeId u = ops::sub(g, one, ops::random(g, n[0], work, shape, 0));
    const NodeId angle = ops::mul(g, ops::random(g, n[0], work, shape, 1),
                                  ops::literal(g, work, 2 * std::numbers::pi));
    const NodeId radius = ops::sqrt(g, ops::mul(g, ops::log(g, u), ops::literal(g, work, -2)));
    return ops::cast(g, ops::mul(g, radius, ops::unary(g, Op::Cos, angle)), dtype);
  });
}

Tensor randint(int64_t low, int64_t high, const Dims& shape, Generator& generator) {
  if (low >= high) raise<ValueError>("randint: low {} must be below high {}", low, high);
  const double span = static_cast<double>(high) - static_cast<double>(low);
  if (span > 9e15) raise<ValueError>("randint: the range {} .. {} is too wide", low, high);
  return record("randint", {seed_data(generator)}, [&](Graph& g, std::span<const NodeId> n) {
    const NodeId u = ops::random(g, n[0], DType::Float64, shape, 0);
    const NodeId scaled = ops::mul(g, u, ops::literal(g, DType::Float64, span));
    const NodeId whole = ops::cast(g, scaled, DType::Int64);
    return ops::add(g, whole, ops::literal(g, Scalar::of_int(DType::Int64, low)));
  });
}

}  // namespace coregrad
