#include "external_call.h"

#include "kernel/index_expr.h"

#include <algorithm>
#include <exception>
#include <utility>

namespace coregrad::python {
namespace {

namespace nb = nanobind;

/// A call where sizes are numbers.
struct SizedCall {
  std::shared_ptr<const ExternalCall> call;  ///< shared: its function is counted with the GIL only
  std::vector<TensorSpec> operands, results;
  std::vector<int64_t> sizes;
};

std::shared_ptr<const SizedCall> with_sizes(const std::shared_ptr<const ExternalCall>& call,
                                            const SizeFunction& value_of) {
  const auto numbers = [&](const std::vector<SymInt>& sizes) {
    std::vector<int64_t> values;
    for (const SymInt x : sizes) values.push_back(value_of(x).number());
    return values;
  };
  const auto specs = [&](const std::vector<ExternalTensor>& tensors) {
    std::vector<TensorSpec> made;
    for (const auto& [dtype, shape] : tensors)
      made.push_back(TensorSpec::make(dtype, numbers(shape), {}));
    return made;
  };
  return std::make_shared<SizedCall>(
      SizedCall{call, specs(call->operands), specs(call->results), numbers(call->sizes)});
}

bool has_symbols(const ExternalCall& call) {
  const auto is_sized = [](const ExternalTensor& t) { return coregrad::has_symbols(t.shape); };
  return std::ranges::any_of(call.operands, is_sized) ||
         std::ranges::any_of(call.results, is_sized) || coregrad::has_symbols(call.sizes);
}

void call_python(const StepArgs* args, int64_t, int64_t, int) {
  const auto& sized = *static_cast<const SizedCall*>(args->context);
  const nb::gil_scoped_acquire gil;
  // After a failure the remaining calls would only see garbage.
  if (args->status->error != nullptr) return;
  try {
    nb::list operands, results, sizes;
    size_t at = 0;
    for (const TensorSpec& spec : sized.operands)
      operands.append(view_memory(args->buffers[at++], spec));
    for (size_t r = 0; r < sized.results.size(); ++r) {
      const int64_t place = args->params[r];  // -1: nobody reads this result, it has no memory
      results.append(place < 0 ? nb::object(nb::none())
                               : view_memory(args->buffers[place], sized.results[r]));
    }
    for (const int64_t size : sized.sizes) sizes.append(size);
    sized.call->function(operands, results, sizes);
  } catch (...) {
    args->status->error = std::current_exception();
  }
}

}  // namespace

ExternalStep make_external_step(std::string name, std::shared_ptr<const ExternalCall> call) {
  ExternalStep step;
  step.name = std::move(name);
  step.function = call_python;
  step.num_results = static_cast<int64_t>(call->results.size());
  if (has_symbols(*call)) {
    step.context = nullptr;
    step.make_context = [call](const SizeFunction& value_of) { return with_sizes(call, value_of); };
    step.keep_alive = std::move(call);
    return step;
  }
  std::shared_ptr<const SizedCall> sized = with_sizes(call, [](SymInt x) { return x; });
  step.context = sized.get();
  step.keep_alive = std::move(sized);
  return step;
}

}  // namespace coregrad::python
