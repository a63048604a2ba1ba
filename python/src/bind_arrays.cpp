// Tensors and arrays: memory that comes in and goes out.
//
// Values cross the border without copies: an array's memory becomes a buffer that holds a reference
// to the array, and a realised tensor's buffer becomes a read-only array that holds the buffer.

#include "coregrad/coregrad.h"
#include "ir/print.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "memory_owner.h"

namespace coregrad::python {
namespace {

using namespace nb::literals;
using Array = nb::ndarray<nb::ro, nb::device::cpu>;

nb::dlpack::dtype dtype_to(DType t) {
  switch (t) {
    case DType::Bool:
      return nb::dtype<bool>();
    case DType::Int32:
      return nb::dtype<int32_t>();
    case DType::Int64:
      return nb::dtype<int64_t>();
    case DType::Float16:
      return {static_cast<uint8_t>(nb::dlpack::dtype_code::Float), 16, 1};
    case DType::BFloat16:
      return {static_cast<uint8_t>(nb::dlpack::dtype_code::Bfloat), 16, 1};
    case DType::Float32:
      return nb::dtype<float>();
    case DType::Float64:
      return nb::dtype<double>();
    case DType::Int8:
      return nb::dtype<int8_t>();
    case DType::UInt8:
      return nb::dtype<uint8_t>();
    case DType::Int16:
      return nb::dtype<int16_t>();
    case DType::UInt16:
      return nb::dtype<uint16_t>();
    case DType::UInt32:
      return nb::dtype<uint32_t>();
  }
  COREGRAD_UNREACHABLE("dtype");
}

DType dtype_from(nb::dlpack::dtype t) {
  for (int i = 0; i < kNumDTypes; ++i)
    if (const auto candidate = static_cast<DType>(i); dtype_to(candidate) == t) return candidate;
  raise<DTypeError>("from_array: element type with code {} and {} bits is not supported", t.code,
                    t.bits);
}

/// A tensor over an array's memory.
Tensor from_array(const Array& array, DType dtype) {
  Dims shape, strides;
  int64_t last = 0;
  for (size_t d = 0; d < array.ndim(); ++d) {
    shape.push_back(static_cast<int64_t>(array.shape(d)));
    strides.push_back(array.stride(d));
    last += (shape.back() - 1) * strides.back();
  }
  const int64_t bytes = array.size() == 0 ? 0 : (last + 1) * size_of(dtype);
  // The last reference may go on a thread without the interpreter's lock.
  std::shared_ptr<void> owner(new Array(array), [](void* p) {
    const nb::gil_scoped_acquire gil;
    delete static_cast<Array*>(p);
  });
  return from_memory(const_cast<void*>(array.data()), bytes, dtype, shape, strides,
                     std::move(owner));
}

/// The values as an array of a framework's, without a copy; NumPy gets narrow floats it does not
/// know as `dtype`.
template <class Framework>
nb::ndarray<Framework, nb::ro> to_array(const Tensor& tensor, nb::dlpack::dtype dtype) {
  const std::shared_ptr<const void> values = [&] {
    const nb::gil_scoped_release release;
    return tensor.storage();
  }();
  const std::vector<size_t> shape(tensor.shape().begin(), tensor.shape().end());
  const Dims strides = tensor.strides();
  const nb::capsule owner = MemoryOwner(values).to_capsule();
  return nb::ndarray<Framework, nb::ro>(values.get(), shape.size(), shape.data(), owner,
                                        strides.data(), dtype);
}

nb::ndarray<nb::numpy, nb::ro> to_numpy(const Tensor& tensor) {
  if (tensor.dtype() == DType::BFloat16)
    raise<DTypeError>(
        "numpy: NumPy has no bfloat16; cast to float32 for the values, or take bits()");
  return to_array<nb::numpy>(tensor, dtype_to(tensor.dtype()));
}

nb::ndarray<nb::array_api, nb::ro> to_dlpack(const Tensor& tensor) {
  return to_array<nb::array_api>(tensor, dtype_to(tensor.dtype()));
}

/// float16 and bfloat16 as uint16.
nb::ndarray<nb::numpy, nb::ro> bits_of(const Tensor& tensor) {
  if (!is_narrow(tensor.dtype()))
    raise<DTypeError>("bits: needs float16 or bfloat16, got {}", name_of(tensor.dtype()));
  return to_array<nb::numpy>(tensor, nb::dtype<uint16_t>());
}

/// A copy of a narrow float's values, row by row, that may be written to: NumPy copies the bits.
nb::ndarray<nb::array_api> to_own_array(const Tensor& tensor) {
  const nb::object bits =
      nb::module_::import_("numpy").attr("array")(nb::cast(bits_of(tensor)), "order"_a = "C");
  const auto copy = nb::cast<nb::ndarray<nb::device::cpu>>(bits);
  const std::vector<size_t> shape(tensor.shape().begin(), tensor.shape().end());
  return nb::ndarray<nb::array_api>(copy.data(), shape.size(), shape.data(), bits, nullptr,
                                    dtype_to(tensor.dtype()));
}

Tensor from_bits(const nb::ndarray<nb::ro, nb::device::cpu, uint16_t>& array, DType dtype) {
  if (!is_narrow(dtype))
    raise<DTypeError>("from_bits: needs float16 or bfloat16, got {}", name_of(dtype));
  return from_array(Array(array), dtype);
}

/// The buffer protocol: as the NumPy array over the values has it, read-only.
int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  view->obj = nullptr;
  try {
    const Tensor& tensor = *nb::inst_ptr<Tensor>(self);
    if (tensor.requires_grad() && grad_enabled())
      raise<DTypeError>("memory of a tensor that requires a gradient is not exported: detach() it");
    const nb::object array = nb::cast(to_numpy(tensor));
    return PyObject_GetBuffer(array.ptr(), view, flags);
  } catch (const DTypeError& e) {
    PyErr_SetString(PyExc_BufferError, e.what());
  } catch (...) {
    set_python_error();
  }
  return -1;
}

}  // namespace

Tensor copy_array(nb::handle array) {
  const nb::object copy = nb::module_::import_("numpy").attr("array")(array, "order"_a = "C");
  const std::optional<DType> dtype = read_dtype(copy.attr("dtype"));
  if (!dtype)
    raise<DTypeError>("tensor: element type {} is not supported",
                      nb::cast<std::string>(copy.attr("dtype").attr("name")));
  return from_array(nb::cast<Array>(copy), *dtype);
}

PyType_Slot* array_slots() {
  static PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)},
                                {0, nullptr}};
  return slots;
}

void bind_arrays(nb::module_& m, nb::class_<Tensor>& cls) {
  m.def(
      "_from_array",
      [](const Array& array) { return from_array(array, dtype_from(array.dtype())); },
      nb::arg("array"),
      "A tensor over a NumPy or DLPack array's memory, without a copy; it must not change later.");
  m.def("_copy_array", copy_array, nb::arg("array"), "A tensor with a copy of a NumPy array.");
  m.def("from_bits", from_bits, nb::arg("array"), nb::arg("dtype"),
        "A float16 or bfloat16 tensor over a uint16 array's memory, without a copy.\n\n"
        ">>> import coregrad as cg, numpy as np\n"
        ">>> cg.from_bits(np.array([0x3F80], np.uint16), cg.bfloat16).tolist()\n"
        "[1.0]");
  cls.def("numpy", to_numpy, "A read-only NumPy array over the values, without a copy.")
      .def("bits", bits_of,
           "A read-only uint16 NumPy array over a float16 or bfloat16 tensor, without a copy.")
      .def(
          "_dlpack",
          [](const Tensor& t, bool copies) {
            return copies ? nb::cast(to_own_array(t)) : nb::cast(to_dlpack(t));
          },
          nb::arg("copies"),
          "For DLPack: a read-only view of the values, or a copy of narrow floats.")
      .def_prop_ro(
          "itemsize", [](const Tensor& t) { return size_of(t.dtype()); }, "Bytes of an element.")
      .def_prop_ro(
          "nbytes", [](const Tensor& t) { return t.numel() * size_of(t.dtype()); },
          "Bytes of all elements.");
}

}  // namespace coregrad::python
