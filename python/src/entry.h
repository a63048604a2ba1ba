#pragma once
// What a caller gets for a compiled graph: a C function of the graph's inputs.

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <span>

namespace coregrad::python {

namespace nb = nanobind;

/// What such functions have in common for all sizes.
class EntryTemplate {
 public:
  /// `program` is a Program, a ProgramTemplate or None. See the binding for how results are
  /// described. `owner` lives as long as a function.
  EntryTemplate(nb::handle program, size_t num_inputs, const nb::list& constants,
                nb::handle draw_seed, const nb::list& results, const nb::list& written,
                nb::handle increment_version, nb::handle owner);

  /// A built-in function of `num_inputs` positional arguments that runs the program where symbols
  /// have these values and gives a tuple.
  nb::object bind(std::span<const int64_t> values) const;

  struct Parts;

 private:
  std::shared_ptr<const Parts> parts_;
};

/// What a function takes of memory; a guess where it is none of an EntryTemplate.
int64_t bytes_of_entry(nb::handle function);

}  // namespace coregrad::python
