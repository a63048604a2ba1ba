#include "external_call.h"

#include <exception>
#include <utility>

namespace coregrad::python {
namespace {

namespace nb = nanobind;

void call_python(const StepArgs* args, int64_t, int64_t, int) {
  const auto& call = *static_cast<const ExternalCall*>(args->context);
  const nb::gil_scoped_acquire gil;
  // After a failure the remaining calls would only see garbage.
  if (args->status->error != nullptr) return;
  try {
    nb::list operands, results;
    size_t at = 0;
    for (const TensorSpec& spec : call.operands)
      operands.append(view_memory(args->buffers[at++], spec));
    for (size_t r = 0; r < call.results.size(); ++r) {
      const int64_t place = args->params[r];  // -1: nobody reads this result, it has no memory
      results.append(place < 0 ? nb::object(nb::none())
                               : view_memory(args->buffers[place], call.results[r]));
    }
    call.function(operands, results);
  } catch (...) {
    args->status->error = std::current_exception();
  }
}

}  // namespace

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
