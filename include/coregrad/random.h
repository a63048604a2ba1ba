#pragma once
// Random tensors: a pure function of the generator's seed and how many were asked for before.

#include "coregrad/tensor.h"

#include <cstdint>
#include <mutex>

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

}  // namespace coregrad
