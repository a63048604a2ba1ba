#pragma once
// Random tensors: a pure function of the generator's seed and how many were asked for before.

#include "coregrad/tensor.h"

#include <cstdint>
#include <mutex>

#pragma GCC visibility push(default)
namespace coregrad {

/// A sequence of independent seeds for Philox. Thread-safe.
class Generator {
 public:
  explicit Generator(uint64_t seed = 0) : seed_(seed) {}
  /// Starts over with another seed.
  void manual_seed(uint64_t seed);
  uint64_t initial_seed() const { return seed_; }
  /// The next seed, different for every call.
  int64_t next();
  /// The next seed as data, so that a loop's next pass has the same structure; each call of a
  /// CompiledFunction draws it anew.
  Tensor draw();
  /// How many seeds were handed out; for saving and resuming.
  uint64_t position() const;
  void set_position(uint64_t position);

 private:
  mutable std::mutex mutex_;
  uint64_t seed_;
  uint64_t position_ = 0;
};

/// What functions use when no generator is given.
Generator& default_generator();
inline void manual_seed(uint64_t seed) { default_generator().manual_seed(seed); }

/// Uniform in [0, 1).
Tensor rand(const Dims& shape, DType dtype = DType::Float32,
            Generator& generator = default_generator());
/// Standard normal.
Tensor randn(const Dims& shape, DType dtype = DType::Float32,
             Generator& generator = default_generator());
/// Uniform whole numbers in [low, high).
Tensor randint(int64_t low, int64_t high, const Dims& shape,
               Generator& generator = default_generator());

/// int64 0 .. n-1 in a random order.
Tensor randperm(int64_t n, Generator& generator = default_generator());
/// Normal with means and deviations, which broadcast; float32, or float64 where they are.
Tensor normal(const Tensor& mean, const Tensor& deviation,
              Generator& generator = default_generator());
/// 1 with the probability that each element is, else 0.
Tensor bernoulli(const Tensor& probability, Generator& generator = default_generator());
/// int64 places in the last dimension of weights [n] or [rows, n], chosen by them: [.., count].
Tensor multinomial(const Tensor& weights, int64_t count, bool replacement = false,
                   Generator& generator = default_generator());

}  // namespace coregrad
#pragma GCC visibility pop
