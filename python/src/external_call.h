#pragma once
// A plan step that calls a Python function: how an operation without a lowering runs inside a plan.

#include "compile/compiler.h"

#include <nanobind/nanobind.h>

#include "tensor_exchange.h"
#include <memory>
#include <string>
#include <vector>

namespace coregrad::python {

/// The first Python error of a program's external calls; touched only with the GIL held.
struct PendingError {
  std::unique_ptr<nanobind::python_error> error;
  /// Throws the error, if there is one, and forgets it.
  void rethrow();
};

struct ExternalCall {
  nanobind::object
      function;  ///< called with (operands, results), lists of tensors over the buffers
  std::vector<TensorSpec> operands, results;
  std::shared_ptr<PendingError> pending;
};

/// The step for compile(). Calls are made with the GIL, on whatever thread runs the step.
ExternalStep make_external_step(std::string name, std::shared_ptr<const ExternalCall> call);

}  // namespace coregrad::python
