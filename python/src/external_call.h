#pragma once
// A plan step that calls a Python function: how an operation without a lowering runs inside a plan.

#include "compile/compiler.h"

#include <nanobind/nanobind.h>

#include "tensor_exchange.h"
#include <memory>
#include <string>
#include <vector>

namespace coregrad::python {

/// A tensor that a step reads or fills: row-major, of sizes that may be symbols.
struct ExternalTensor {
  DType dtype;
  std::vector<SymInt> shape;
};

struct ExternalCall {
  nanobind::object function;  ///< called with (operands, results, sizes): lists of tensors over the
                              ///< buffers, and of numbers; a result that nobody reads is None
  std::vector<ExternalTensor> operands, results;
  std::vector<SymInt> sizes;  ///< that the function is told
};

/// The step for compile(). Calls are made with the GIL, on whatever thread runs the step; an
/// exception goes to the run's status.
ExternalStep make_external_step(std::string name, std::shared_ptr<const ExternalCall> call);

}  // namespace coregrad::python
