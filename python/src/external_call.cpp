#include "external_call.h"

#include <utility>

namespace coregrad::python {
namespace {

namespace nb = nanobind;

void call_python(const StepArgs* args, int64_t, int64_t, int) {
  const auto& call = *static_cast<const ExternalCall*>(args->context);
  const nb::gil_scoped_acquire gil;
  // After a failure the remaining calls would only see garbage.
  if (call.pending->error != nullptr) return;
  try {
    nb::list operands, results;
    size_t at = 0;
    for (const TensorSpec& spec : call.operands)
      operands.append(view_memory(args->buffers[at++], spec));
    for (const TensorSpec& spec : call.results)
      results.append(view_memory(args->buffers[at++], spec));
    call.function(operands, results);
  } catch (nb::python_error& e) {
    call.pending->error = std::make_unique<nb::python_error>(std::move(e));
  }
}

}  // namespace

void PendingError::rethrow() {
  if (error == nullptr) return;
  const std::unique_ptr<nb::python_error> taken = std::exchange(error, nullptr);
  taken->restore();
  throw nb::python_error();
}

ExternalStep make_external_step(std::string name, std::shared_ptr<const ExternalCall> call) {
  ExternalStep step;
  step.name = std::move(name);
  step.function = call_python;
  step.context = call.get();
  step.num_results = static_cast<int64_t>(call->results.size());
  step.keep_alive = std::move(call);
  return step;
}

}  // namespace coregrad::python
