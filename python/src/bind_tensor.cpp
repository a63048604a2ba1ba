// coregrad.Tensor and what makes it: the C++ tensor layer for Python.
//
// Values cross the border without copies: an array's memory becomes a buffer that holds a reference
// to the array, and a realised tensor's buffer becomes a read-only array that holds the buffer.

#include "coregrad/coregrad.h"
#include "ir/print.h"
#include "runtime/allocator.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "memory_owner.h"

namespace coregrad::python {
namespace {

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

/// float16 and bfloat16 as uint16.
nb::ndarray<nb::numpy, nb::ro> bits_of(const Tensor& tensor) {
  if (!is_narrow(tensor.dtype()))
    raise<DTypeError>("bits: needs float16 or bfloat16, got {}", name_of(tensor.dtype()));
  return to_array<nb::numpy>(tensor, nb::dtype<uint16_t>());
}

Tensor from_bits(const nb::ndarray<nb::ro, nb::device::cpu, uint16_t>& array, DType dtype) {
  if (!is_narrow(dtype))
    raise<DTypeError>("from_bits: needs float16 or bfloat16, got {}", name_of(dtype));
  return from_array(Array(array), dtype);
}

/// Python's operators, with a tensor on either side.
void bind_python_operators(nb::class_<Tensor>& cls) {
  using Binary = Tensor (*)(const Operand&, const Operand&);
  struct Row {
    const char *forward, *reflected;
    Binary function;
  };
  const Binary divide = [](const Operand& a, const Operand& b) { return div(a, b); };
  const Row rows[] = {
      {"__add__", "__radd__", add},       {"__sub__", "__rsub__", sub},
      {"__mul__", "__rmul__", mul},       {"__truediv__", "__rtruediv__", divide},
      {"__pow__", "__rpow__", pow},       {"__floordiv__", "__rfloordiv__", floor_divide},
      {"__mod__", "__rmod__", remainder}, {"__and__", "__rand__", logical_and},
      {"__or__", "__ror__", logical_or},  {"__xor__", "__rxor__", logical_xor},
      {"__eq__", nullptr, equal},         {"__ne__", nullptr, not_equal},
      {"__lt__", nullptr, less},          {"__le__", nullptr, less_equal},
      {"__gt__", nullptr, greater},       {"__ge__", nullptr, greater_equal},
  };
  for (const Row& row : rows) {
    const Binary function = row.function;
    cls.def(row.forward, function, nb::is_operator());
    if (row.reflected == nullptr) continue;
    cls.def(
        row.reflected, [function](const Operand& a, const Operand& b) { return function(b, a); },
        nb::is_operator());
  }
  cls.def("__neg__", neg).def("__abs__", abs).def("__invert__", logical_not);
  cls.def("__matmul__", matmul, nb::is_operator(), "The matrix product.");
}

void bind_products(nb::module_& m) {
  m.def(
      "einsum",
      [](const std::string& equation, const nb::args& operands) {
        const bool is_list = operands.size() == 1 && !nb::isinstance<Tensor>(operands[0]);
        const nb::object all = is_list ? nb::object(operands[0]) : nb::object(operands);
        return einsum(equation, nb::cast<std::vector<Tensor>>(all));
      },
      nb::arg("equation"), nb::arg("operands"),
      "Sum of products by labels, of tensors or of one list of them.\n\n"
      "Raises ValueError for an equation that is none, ShapeError when a label has two extents.\n\n"
      ">>> import coregrad as cg\n"
      ">>> cg.einsum('ij,jk->ik', cg.ones((2, 3)), cg.ones((3, 2))).tolist()\n"
      "[[3.0, 3.0], [3.0, 3.0]]");
}

void bind_extremes(nb::module_& m, nb::class_<Tensor>& cls) {
  const auto largest = [](const Tensor& x, const DimList& dim, bool keepdim) {
    return max(x, dim.values, keepdim);
  };
  const auto smallest = [](const Tensor& x, const DimList& dim, bool keepdim) {
    return min(x, dim.values, keepdim);
  };
  const auto define = [&](const char* name, auto function, const char* doc) {
    cls.def(name, function, nb::arg("dim") = nb::none(), nb::arg("keepdim") = false, doc);
    m.def(name, function, nb::arg("input"), nb::arg("dim") = nb::none(), nb::arg("keepdim") = false,
          doc);
  };
  define("max", largest, "The largest element over a dimension, several, or all; NaN wins.");
  define("min", smallest, "The smallest element over a dimension, several, or all; NaN wins.");
}

/// Functions whose parameters are not a builder's.
void bind_others(nb::module_& m, nb::class_<Tensor>& cls) {
  cls.def("slice", slice, nb::arg("dim"), nb::arg("start"), nb::arg("stop"), nb::arg("step") = 1,
          "Elements start, start + step, .. below stop of a dimension.");
  cls.def("select", select, nb::arg("dim"), nb::arg("index"), "One index of a dimension.");
  cls.def("pad", pad, nb::arg("low"), nb::arg("high"), nb::arg("fill") = 0.0,
          "Elements put before and after each dimension.");
  cls.def("split", split, nb::arg("size"), nb::arg("dim") = 0, "Pieces along a dimension.");
  cls.def("cast", cast, nb::arg("dtype"), "The elements in another dtype.");
  m.def(
      "concat", [](const std::vector<Tensor>& tensors, int64_t dim) { return cat(tensors, dim); },
      nb::arg("tensors"), nb::arg("dim") = 0, "The same as cat.");
}

void bind_creation(nb::module_& m) {
  const auto f32 = DType::Float32;
  m.def(
      "_from_array",
      [](const Array& array) { return from_array(array, dtype_from(array.dtype())); },
      nb::arg("array"),
      "A tensor over a NumPy or DLPack array's memory, without a copy; it must not change later.");
  m.def("from_bits", from_bits, nb::arg("array"), nb::arg("dtype"),
        "A float16 or bfloat16 tensor over a uint16 array's memory, without a copy.\n\n"
        ">>> import coregrad as cg, numpy as np\n"
        ">>> cg.from_bits(np.array([0x3F80], np.uint16), cg.bfloat16).tolist()\n"
        "[1.0]");
  m.def("zeros", zeros, nb::arg("shape"), nb::arg("dtype") = f32, "A tensor of zeros.");
  m.def("ones", ones, nb::arg("shape"), nb::arg("dtype") = f32, "A tensor of ones.");
  m.def(
      "full",
      [](const Dims& shape, nb::handle value, DType dtype) {
        return full(shape, to_scalar(value, dtype, "full"));
      },
      nb::arg("shape"), nb::arg("value"), nb::arg("dtype") = f32, "A tensor of one value.");
  m.def(
      "arange",
      [](Number start, std::optional<Number> stop, Number step, std::optional<DType> dtype) {
        const Number first = stop ? start : Number(int64_t{0}), last = stop ? *stop : start;
        const bool is_counted = first.index() + last.index() + step.index() == 0;
        return arange(to_double(first), to_double(last), to_double(step),
                      dtype.value_or(is_counted ? DType::Int64 : DType::Float32));
      },
      nb::arg("start"), nb::arg("stop") = nb::none(), nb::arg("step") = 1,
      nb::arg("dtype") = nb::none(),
      "start, start + step, .. before stop; with one argument 0, 1, .. before it. Of int64 if all "
      "are\nint, else of float32, unless a dtype is given.\n\n"
      ">>> import coregrad as cg\n"
      ">>> cg.arange(3).tolist(), cg.arange(0, 1, 0.25).tolist()\n"
      "([0, 1, 2], [0.0, 0.25, 0.5, 0.75])\n\n"
      "Raises ValueError where no steps lead to stop.");
  m.def(
      "linspace",
      [](double start, double stop, int64_t count, DType dtype) {
        return linspace(start, stop, count, dtype);
      },
      nb::arg("start"), nb::arg("stop"), nb::arg("count"), nb::arg("dtype") = f32,
      "Evenly spaced values, both ends included.");
  m.def(
      "eye",
      [](int64_t rows, std::optional<int64_t> columns, DType dtype) {
        return eye(rows, columns.value_or(rows), dtype);
      },
      nb::arg("rows"), nb::arg("columns") = nb::none(), nb::arg("dtype") = f32,
      "Ones on the diagonal.");
  m.def(
      "rand", [](const Dims& shape, DType dtype) { return rand(shape, dtype); }, nb::arg("shape"),
      nb::arg("dtype") = f32, "Uniform numbers in [0, 1).");
  m.def(
      "randn", [](const Dims& shape, DType dtype) { return randn(shape, dtype); }, nb::arg("shape"),
      nb::arg("dtype") = f32, "Standard normal numbers.");
  m.def(
      "randint",
      [](int64_t low, int64_t high, const Dims& shape) { return randint(low, high, shape); },
      nb::arg("low"), nb::arg("high"), nb::arg("shape"), "Whole numbers in [low, high).");
  m.def(
      "randperm", [](int64_t n) { return randperm(n); }, nb::arg("n"),
      "int64 0 .. n-1 in a random order.");
  m.def(
      "normal", [](const Tensor& mean, const Tensor& std) { return normal(mean, std); },
      nb::arg("mean"), nb::arg("std"),
      "Normal numbers with means and deviations, which broadcast.\n\nRaises DTypeError unless both "
      "are floating.");
  m.def(
      "bernoulli", [](const Tensor& p) { return bernoulli(p); }, nb::arg("input"),
      "1 with the probability that each element is, else 0.\n\nRaises DTypeError unless input is "
      "floating.");
  m.def(
      "multinomial",
      [](const Tensor& weights, int64_t count, bool replacement) {
        return multinomial(weights, count, replacement);
      },
      nb::arg("input"), nb::arg("num_samples"), nb::arg("replacement") = false,
      "int64 places in the last dimension of weights [n] or [rows, n], chosen by them.\n\nRaises "
      "ValueError for more samples than there are places without replacement, IndexError for\n"
      "weights that are negative, infinite or 0 everywhere.");
  m.def("manual_seed", manual_seed, nb::arg("seed"), "Starts the random numbers over.");
}

void bind_autograd(nb::module_& m, nb::class_<Tensor>& cls) {
  cls.def_prop_rw(
      "requires_grad", &Tensor::requires_grad,
      [](const Tensor& t, bool on) {
        const nb::gil_scoped_release release;
        t.set_requires_grad(on);
      },
      "True where gradients flow; set it on a leaf, which realises it.");
  cls.def_prop_rw(
      "grad",
      [](const Tensor& t) -> nb::object {
        const Tensor g = t.grad();
        return g.is_defined() ? nb::cast(g) : nb::none();
      },
      [](const Tensor& t, std::optional<Tensor> g) { t.set_grad(g.value_or(Tensor())); },
      nb::for_setter(nb::arg("gradient").none()), "The gradient so far, lazy, or None.");
  cls.def(
      "backward",
      [](const Tensor& t, std::optional<Tensor> gradient, bool keep_graph) {
        const nb::gil_scoped_release release;
        t.backward(gradient.value_or(Tensor()), keep_graph);
      },
      nb::arg("gradient") = nb::none(), nb::arg("keep_graph") = false,
      "Adds d(self)/d(leaf) to the gradient of every leaf.\n\n"
      "Raises AutogradError when this tensor is not realised or depends on no leaf.\n\n"
      ">>> import coregrad as cg\n"
      ">>> x = cg.tensor([1.0, 2.0], requires_grad=True)\n"
      ">>> (x * x).sum().realize().backward()\n"
      ">>> x.grad.tolist()\n"
      "[2.0, 4.0]");
  cls.def("detach", &Tensor::detach, nb::call_guard<nb::gil_scoped_release>(),
          "The same value without a way back for gradients.");
  m.def("_value_and_grad", [](const nb::callable& function, const std::vector<Tensor>& arguments) {
    ValueAndGrad result = value_and_grad(
        [&](std::span<const Tensor> fresh) {
          nb::list list;
          for (const Tensor& t : fresh) list.append(nb::cast(t));
          return nb::cast<Tensor>(function(*nb::tuple(list)));
        },
        arguments);
    return std::pair(result.value, result.gradients);
  });
  nb::class_<NoGrad>(m, "_NoGrad").def(nb::init<>());
}

}  // namespace

void bind_tensor(nb::module_& m) {
  m.def("promote_types", &promote, nb::arg("type1"), nb::arg("type2"),
        "The dtype that operations on tensors of two dtypes give.\n\n"
        ">>> import coregrad as cg\n"
        ">>> cg.promote_types(cg.int8, cg.uint8)\n"
        "DType.int16");
  nb::class_<Tensor> cls(m, "Tensor",
                         "A value of the recorded graph; computed when asked for.\n\n"
                         ">>> import coregrad as cg\n"
                         ">>> y = cg.tensor([1.0, 2.0, 3.0]) * 2 + 1\n"
                         ">>> y.is_realized\n"
                         "False\n"
                         ">>> y.tolist()\n"
                         "[3.0, 5.0, 7.0]");
  cls.def_prop_ro(
         "shape", [](const Tensor& t) { return nb::tuple(nb::cast(t.shape())); },
         "Extents of the dimensions.")
      .def_prop_ro("dtype", &Tensor::dtype, "Element type.")
      .def_prop_ro("ndim", &Tensor::ndim, "Number of dimensions.")
      .def_prop_ro("numel", &Tensor::numel, "Number of elements.")
      .def_prop_ro(
          "strides", [](const Tensor& t) { return nb::tuple(nb::cast(t.strides())); },
          "Steps between neighbours, in elements.")
      .def_prop_ro("is_contiguous", &Tensor::is_contiguous, "True for row-major elements.")
      .def_prop_ro("is_realized", &Tensor::is_realized, "True when the value is there.")
      .def(
          "realize",
          [](const Tensor& t) {
            const nb::gil_scoped_release release;
            return t.realize();
          },
          "Computes the value if it is not there; returns this tensor.")
      .def("numpy", to_numpy, "A read-only NumPy array over the values, without a copy.")
      .def("bits", bits_of,
           "A read-only uint16 NumPy array over a float16 or bfloat16 tensor, without a copy.")
      .def("_dlpack",
           [](const Tensor& t) { return to_array<nb::array_api>(t, dtype_to(t.dtype())); })
      .def("_item",
           [](const Tensor& t) {
             const nb::gil_scoped_release release;
             return t.item();
           })
      .def("assign", &Tensor::assign, nb::arg("value"), nb::call_guard<nb::gil_scoped_release>(),
           "Makes this tensor stand for another one's value of the same shape and dtype.");
  bind_tensor_operators(m, cls);
  bind_python_operators(cls);
  bind_products(m);
  bind_extremes(m, cls);
  bind_others(m, cls);
  bind_creation(m);
  bind_autograd(m, cls);
  m.def(
      "realize",
      [](const std::vector<Tensor>& tensors) {
        const nb::gil_scoped_release release;
        realize(tensors);
      },
      nb::arg("tensors"), "Computes all that is pending in one plan.");
  m.def(
      "session_stats",
      [] {
        const SessionStats s = session_stats();
        nb::dict d;
        d["nodes"] = s.nodes;
        d["live_data"] = s.live_data;
        d["plans_compiled"] = s.plans_compiled;
        d["plan_hits"] = s.plan_hits;
        d["realizations"] = s.realizations;
        d["steps"] = s.steps;
        d["products"] = s.products;
        return d;
      },
      "Counters of the tensor layer.");
  m.def(
      "memory_stats",
      [] {
        const MemoryStats s = memory_stats();
        nb::dict d;
        d["allocated_bytes"] = s.allocated_bytes;
        d["peak_allocated_bytes"] = s.peak_allocated_bytes;
        d["cached_bytes"] = s.cached_bytes;
        d["allocations"] = s.allocations;
        d["cache_hits"] = s.cache_hits;
        return d;
      },
      "Memory in use and kept for reuse, in bytes.");
}

}  // namespace coregrad::python
