#pragma once
// Functions of tensors whose operations are recorded once.

#include "coregrad/tensor.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#pragma GCC visibility push(default)
namespace coregrad {

/// A function of tensors that is recorded at its first call and for each new set of shapes, dtypes
/// and strides. Other calls run one plan and record nothing: what the function does besides
/// operations on tensors (printing, counting) happens while it is recorded alone.
///
/// Tensors that the function reads without being given them (parameters, an optimiser's averages)
/// are read anew by each call, and what assign(), backward(), an optimiser's step() or batch_norm()
/// changes in them is changed by each call. Random numbers are drawn anew, from generators that
/// must outlive it. A tensor made from numbers inside of the function is a constant of it. Asking
/// for a value inside (item()) is a ValueError.
///
/// Where a result needs a gradient of what is outside (a loss that is differentiated later), and
/// for arguments that require gradients, each call records as the function itself would.
///
/// Safe to call from many threads, as far as the function is.
class CompiledFunction {
 public:
  using Function = std::function<std::vector<Tensor>(std::span<const Tensor>)>;

  struct Options {
    /// Sizes that change share a plan from the second set on; otherwise each set has its own.
    bool dynamic = true;
  };
  explicit CompiledFunction(Function function, Options options);
  explicit CompiledFunction(Function function) : CompiledFunction(std::move(function), Options()) {}

  std::vector<Tensor> operator()(std::span<const Tensor> arguments) const {
    return call(arguments).results;
  }
  std::vector<Tensor> operator()(std::initializer_list<Tensor> arguments) const {
    return call(std::span<const Tensor>(arguments.begin(), arguments.size())).results;
  }

  struct Call {
    std::vector<Tensor> results;
    int64_t recording = -1;  ///< which one served it; -1: the function itself
  };
  Call call(std::span<const Tensor> arguments) const;

  struct Recorded {
    std::string signature;  ///< dtypes and shapes of the arguments
    int64_t inputs = 0;     ///< arguments, outside tensors and seeds that a call reads
    int64_t updates = 0;    ///< outside tensors and gradients that a call changes
    int64_t steps = 0;      ///< of the plan
    int64_t calls = 0;      ///< that it served
    std::string reason;     ///< why calls record instead; empty if they do not
  };
  std::vector<Recorded> report() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace coregrad
#pragma GCC visibility pop
