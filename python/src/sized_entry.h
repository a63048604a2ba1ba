#pragma once
// A compiled graph of symbolic sizes as a C function: it finds the program for the sizes of a call.

#include <nanobind/nanobind.h>

#include <cstddef>

namespace coregrad::python {

namespace nb = nanobind;

/// A built-in function of positional arguments that calls the function which was made for sizes
/// like those of the call. `places` tells where sizes stand: (kind, argument, dimension), of kind
/// "int" or "float" (the argument itself), "size" or "stride" (of a tensor that is strided memory),
/// "shape" (of any other) or "storage_offset". make(what stands there, arguments..) gives the
/// function for sizes that were not met before, or whose function had to go:
/// those used last are kept, up to `max_bytes` of memory.
nb::object make_sized_entry(const nb::list& places, nb::handle make, int64_t max_bytes);

}  // namespace coregrad::python
