#pragma once
// What a caller gets for a compiled graph: a C function of the graph's inputs.

#include <nanobind/nanobind.h>

namespace coregrad::python {

namespace nb = nanobind;

/// A built-in function of `num_inputs` positional arguments that runs a Program (or None) and gives
/// a tuple. See the binding for how results are described. `owner` lives as long as the function.
nb::object make_entry(nb::handle program, size_t num_inputs, const nb::list& constants,
                      nb::handle draw_seed, const nb::list& results, const nb::list& written,
                      nb::handle increment_version, nb::handle owner);

}  // namespace coregrad::python
