#include "coregrad/random.h"

#include "base/hash.h"
#include "coregrad/ops.h"
#include "ops/random.h"
#include "tensor/state.h"
#include "tensor/trace.h"

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

Tensor Generator::draw() {
  if (Trace* const trace = Trace::current()) return trace->seed(*this);
  return scalar_data(Scalar::of_int(DType::Int64, next()));
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

void require_float(DType dtype, std::string_view operation) {
  if (!is_float(dtype))
    raise<DTypeError>("{}: needs a float type, got {}", operation, name_of(dtype));
}

}  // namespace

Tensor rand(const Dims& shape, DType dtype, Generator& generator) {
  require_float(dtype, "rand");
  return record("rand", {generator.draw()}, [&](Graph& g, std::span<const NodeId> n) {
    return ops::random(g, n[0], dtype, shape, 0);
  });
}

Tensor randn(const Dims& shape, DType dtype, Generator& generator) {
  require_float(dtype, "randn");
  return record("randn", {generator.draw()}, [&](Graph& g, std::span<const NodeId> n) {
    return ops::standard_normal(g, {n[0]}, dtype, shape);
  });
}

Tensor randint(int64_t low, int64_t high, const Dims& shape, Generator& generator) {
  if (low >= high) raise<ValueError>("randint: low {} must be below high {}", low, high);
  const double span = static_cast<double>(high) - static_cast<double>(low);
  if (span > 9e15) raise<ValueError>("randint: the range {} .. {} is too wide", low, high);
  return record("randint", {generator.draw()}, [&](Graph& g, std::span<const NodeId> n) {
    return ops::whole_numbers(g, {n[0]}, shape, low, high);
  });
}

Tensor randperm(int64_t n, Generator& generator) {
  if (n < 0) raise<ValueError>("randperm: n must not be negative: got {}", n);
  return record("randperm", {generator.draw()}, [&](Graph& g, std::span<const NodeId> seed) {
    return ops::permutation(g, {seed[0]}, n);
  });
}

Tensor normal(const Tensor& mean, const Tensor& deviation, Generator& generator) {
  require_float(mean.dtype(), "normal");
  require_float(deviation.dtype(), "normal");
  const NoGrad constants;
  return record_move(
      "normal", {mean, deviation, generator.draw()}, [&](Graph& g, std::span<const NodeId> n) {
        const auto shape = ops::broadcast_shapes(g.shape(n[0]), g.shape(n[1]), "normal");
        const NodeId drawn = ops::normal(g, {n[2]}, shape, n[0], n[1]);
        return ops::cast(g, drawn, ops::result_type(g, n[0], n[1]));
      });
}

Tensor bernoulli(const Tensor& probability, Generator& generator) {
  require_float(probability.dtype(), "bernoulli");
  const NoGrad constants;
  return record_move(
      "bernoulli", {probability, generator.draw()}, [&](Graph& g, std::span<const NodeId> n) {
        const auto shape = probability.shape();
        return ops::cast(g, ops::bernoulli(g, {n[1]}, shape, n[0]), probability.dtype());
      });
}

Tensor multinomial(const Tensor& weights, int64_t count, bool replacement, Generator& generator) {
  require_float(weights.dtype(), "multinomial");
  const NoGrad constants;
  return record_move("multinomial", {weights, generator.draw()},
                     [&](Graph& g, std::span<const NodeId> n) {
                       return ops::multinomial(g, {n[1]}, n[0], count, replacement);
                     });
}

}  // namespace coregrad
