// What Python gives for dtypes, numbers, shapes and operands.

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include <cstring>

namespace coregrad::python {
namespace {

bool is_instance_of_numpy(nb::handle source, const char* type) {
  return nb::isinstance(source, nb::module_::import_("numpy").attr(type));
}

/// The name of what NumPy or Python call a dtype; empty for anything else.
std::string name_of_dtype(nb::handle source) {
  if (PyUnicode_Check(source.ptr())) return nb::cast<std::string>(source);
  if (source.ptr() == reinterpret_cast<PyObject*>(&PyBool_Type)) return "bool";
  if (source.ptr() == reinterpret_cast<PyObject*>(&PyLong_Type)) return "int64";
  if (source.ptr() == reinterpret_cast<PyObject*>(&PyFloat_Type)) return "float64";
  const nb::module_ numpy = nb::module_::import_("numpy");
  const nb::object generic = numpy.attr("generic"), dtype = numpy.attr("dtype");
  if (nb::isinstance(source, dtype)) return nb::cast<std::string>(source.attr("name"));
  if (PyType_Check(source.ptr()) && PyObject_IsSubclass(source.ptr(), generic.ptr()) == 1)
    return nb::cast<std::string>(dtype(source).attr("name"));
  return {};
}

std::optional<Number> python_number(nb::handle source) {
  if (PyBool_Check(source.ptr())) return Number(source.ptr() == Py_True);
  if (PyFloat_Check(source.ptr())) return Number(PyFloat_AS_DOUBLE(source.ptr()));
  if (!PyLong_Check(source.ptr())) return std::nullopt;
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(source.ptr(), &overflow);
  return overflow == 0 ? std::optional<Number>(number) : std::nullopt;
}

}  // namespace

std::optional<DType> read_dtype(nb::handle source) noexcept {
  try {
    const std::string name = name_of_dtype(source);
    for (int i = 0; i < kNumDTypes; ++i)
      if (name == name_of(static_cast<DType>(i))) return static_cast<DType>(i);
  } catch (...) {  // of an object that only looks like a dtype
    PyErr_Clear();
  }
  return std::nullopt;
}

std::optional<Number> read_number(nb::handle source) noexcept {
  if (std::optional<Number> number = python_number(source)) return number;
  try {
    if (!PyLong_Check(source.ptr()) && is_instance_of_numpy(source, "generic"))
      return python_number(source.attr("item")());
  } catch (...) {
    PyErr_Clear();
  }
  return std::nullopt;
}

std::optional<Tensor> read_array(nb::handle source) noexcept {
  try {
    if (is_instance_of_numpy(source, "ndarray")) return copy_array(source);
  } catch (...) {  // of a dtype that tensors do not have
    PyErr_Clear();
  }
  return std::nullopt;
}

Dims dims_of(const nb::args& extents) {
  Dims dims;
  for (nb::handle extent : extents) {
    int64_t number = 0;
    if (!nb::try_cast(extent, number)) throw nb::next_overload();
    dims.push_back(number);
  }
  if (dims.empty()) throw nb::next_overload();
  return dims;
}

void require_cpu(const Device& device, std::string_view operation) {
  if (device && *device != "cpu")
    raise<ValueError>("{}: the device must be 'cpu', got '{}'", operation, *device);
}

}  // namespace coregrad::python
