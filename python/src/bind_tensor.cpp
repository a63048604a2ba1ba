// coregrad.Tensor and what makes it: the C++ tensor layer for Python.

#include "coregrad/coregrad.h"
#include "runtime/allocator.h"
#include "tensor/state.h"

#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"

namespace coregrad::python {
namespace {

/// The matrix product of two tensors; a number is no matrix.
Tensor product_of(const Operand& a, const Operand& b) {
  if (a.is_number() || b.is_number()) throw nb::next_overload();
  return matmul(a.tensor(), b.tensor());
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
      {"__add__", "__radd__", add},
      {"__sub__", "__rsub__", sub},
      {"__mul__", "__rmul__", mul},
      {"__truediv__", "__rtruediv__", divide},
      {"__pow__", "__rpow__", pow},
      {"__floordiv__", "__rfloordiv__", floor_divide},
      {"__mod__", "__rmod__", remainder},
      {"__matmul__", "__rmatmul__", product_of},
      {"__and__", "__rand__", bitwise_and},
      {"__or__", "__ror__", bitwise_or},
      {"__xor__", "__rxor__", bitwise_xor},
      {"__lshift__", "__rlshift__", bitwise_left_shift},
      {"__rshift__", "__rrshift__", bitwise_right_shift},
      {"__eq__", nullptr, equal},
      {"__ne__", nullptr, not_equal},
      {"__lt__", nullptr, less},
      {"__le__", nullptr, less_equal},
      {"__gt__", nullptr, greater},
      {"__ge__", nullptr, greater_equal},
  };
  for (const Row& row : rows) {
    const Binary function = row.function;
    cls.def(row.forward, function, nb::is_operator());
    if (row.reflected == nullptr) continue;
    cls.def(
        row.reflected, [function](const Operand& a, const Operand& b) { return function(b, a); },
        nb::is_operator());
  }
  cls.def("__neg__", neg).def("__abs__", abs).def("__invert__", bitwise_not);
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
    const auto numpy_form = [function](const Tensor& x, const DimList& axis, bool keepdims,
                                       NoArray) { return function(x, axis, keepdims); };
    cls.def(name, numpy_form, nb::arg("axis") = nb::none(), nb::arg("keepdims") = false,
            nb::arg("out") = nb::none());
    m.def(name, numpy_form, nb::arg("input"), nb::arg("axis") = nb::none(),
          nb::arg("keepdims") = false, nb::arg("out") = nb::none());
  };
  define("max", largest, "The largest element over a dimension, several, or all; NaN wins.");
  define("min", smallest, "The smallest element over a dimension, several, or all; NaN wins.");
}

/// Functions whose parameters are not a builder's.
void bind_others(nb::module_& m, nb::class_<Tensor>& cls) {
  // NumPy passes these, whatever its caller gave.
  const auto deviation = [](Tensor (*function)(const Tensor&, const Dims&, double, bool)) {
    return [function](const Tensor& x, const DimList& axis, std::optional<DType> dtype, NoArray,
                      double ddof, bool keepdims) {
      return function(dtype ? cast(x, *dtype) : x, axis.values, ddof, keepdims);
    };
  };
  const auto define_deviation = [&](const char* name, auto function) {
    cls.def(name, deviation(function), nb::arg("axis") = nb::none(), nb::arg("dtype") = nb::none(),
            nb::arg("out") = nb::none(), nb::kw_only(), nb::arg("ddof"),
            nb::arg("keepdims") = false);
  };
  define_deviation("var", var);
  define_deviation("std", std);
  cls.def("squeeze", [](const Tensor& x) { return squeeze(x); });
  m.def("squeeze", [](const Tensor& x) { return squeeze(x); }, nb::arg("input"));
  cls.def("slice", slice, nb::arg("dim"), nb::arg("start"), nb::arg("stop"), nb::arg("step") = 1,
          "Elements start, start + step, .. below stop of a dimension.");
  cls.def("select", select, nb::arg("dim"), nb::arg("index"), "One index of a dimension.");
  cls.def("pad", pad, nb::arg("low"), nb::arg("high"), nb::arg("fill") = 0.0,
          "Elements put before and after each dimension.");
  cls.def("split", split, nb::arg("size"), nb::arg("dim") = 0, "Pieces along a dimension.");
  cls.def("cast", cast, nb::arg("dtype"), "The elements in another dtype.");
  for (const char* dim : {"dim", "axis"})
    m.def(
        "concat", [](const std::vector<Tensor>& tensors, int64_t at) { return cat(tensors, at); },
        nb::arg("tensors"), nb::arg(dim) = 0, "The same as cat.");
}

/// A function of a shape, which is one argument or several.
void define_of_shape(nb::module_& m, const char* name, Tensor (*make)(const Dims&, DType),
                     const char* doc) {
  const auto checked = [name, make](const Dims& shape, std::optional<DType> dtype,
                                    const Device& device) {
    require_cpu(device, name);
    return make(shape, dtype.value_or(DType::Float32));
  };
  m.def(
      name,
      [checked](const Extents& shape, std::optional<DType> dtype, const Device& device) {
        return checked(shape.values, dtype, device);
      },
      nb::arg("shape"), nb::arg("dtype") = nb::none(), nb::arg("device") = nb::none(), doc);
  m.def(
      name,
      [checked](const nb::args& shape, std::optional<DType> dtype, const Device& device) {
        return checked(dims_of(shape), dtype, device);
      },
      nb::arg("shape"), nb::arg("dtype") = nb::none(), nb::arg("device") = nb::none());
}

void bind_ranges(nb::module_& m) {
  m.def(
      "arange",
      [](Number start, std::optional<Number> stop, Number step, std::optional<DType> dtype,
         const Device& device) {
        require_cpu(device, "arange");
        return stop ? arange(start, *stop, step, dtype) : arange(0, start, step, dtype);
      },
      nb::arg("start"), nb::arg("stop") = nb::none(), nb::arg("step") = 1,
      nb::arg("dtype") = nb::none(), nb::arg("device") = nb::none(),
      "start, start + step, .. before stop; with one argument 0, 1, .. before it. Of int64 if all "
      "are\nint, else of float32, unless a dtype is given.\n\n"
      ">>> import coregrad as cg\n"
      ">>> cg.arange(3).tolist(), cg.arange(0, 1, 0.25).tolist()\n"
      "([0, 1, 2], [0.0, 0.25, 0.5, 0.75])\n\n"
      "Raises ValueError where no steps lead to stop, and for fractions where the dtype is whole.");
  const auto spaced = [](double start, double stop, int64_t num, std::optional<DType> dtype,
                         bool endpoint, const Device& device) {
    require_cpu(device, "linspace");
    return linspace(start, stop, num, dtype.value_or(DType::Float32), endpoint);
  };
  m.def("linspace", spaced, nb::arg("start"), nb::arg("stop"), nb::arg("num"),
        nb::arg("dtype") = nb::none(), nb::arg("endpoint") = true, nb::arg("device") = nb::none(),
        "num values from start to stop, evenly spaced; stop is the last one, or would be the next "
        "one unless endpoint.\n\n"
        ">>> import coregrad as cg\n"
        ">>> cg.linspace(0, 1, 5).tolist(), cg.linspace(0, 1, 4, endpoint=False).tolist()\n"
        "([0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 0.25, 0.5, 0.75])");
  m.def("linspace", spaced, nb::arg("start"), nb::arg("end"), nb::arg("steps"),
        nb::arg("dtype") = nb::none(), nb::arg("endpoint") = true, nb::arg("device") = nb::none());
  m.def(
      "eye",
      [](int64_t rows, std::optional<int64_t> columns, int64_t k, std::optional<DType> dtype,
         const Device& device) {
        require_cpu(device, "eye");
        return eye(rows, columns.value_or(rows), dtype.value_or(DType::Float32), k);
      },
      nb::arg("n"), nb::arg("m") = nb::none(), nb::arg("k") = 0, nb::arg("dtype") = nb::none(),
      nb::arg("device") = nb::none(),
      "n rows and m columns, or n, with ones where column - row is k.\n\n"
      ">>> import coregrad as cg\n"
      ">>> cg.eye(2, 3, k=1).tolist()\n"
      "[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]");
}

void bind_creation(nb::module_& m) {
  define_of_shape(m, "zeros", zeros,
                  "Zeros of a shape, which is one argument or several; float32 unless a dtype is "
                  "given.\n\n"
                  ">>> import coregrad as cg\n"
                  ">>> cg.zeros(2).tolist(), cg.zeros(2, 3).shape, cg.zeros((2, 3), int).dtype\n"
                  "([0.0, 0.0], (2, 3), DType.int64)");
  define_of_shape(m, "ones", ones, "Ones of a shape, as zeros().");
  define_of_shape(m, "empty", zeros,
                  "Elements of a shape, as zeros(), that may be anything; they are zeros.");
  define_of_shape(
      m, "rand", [](const Dims& shape, DType dtype) { return rand(shape, dtype); },
      "Uniform numbers in [0, 1) of a shape, as zeros().");
  define_of_shape(
      m, "randn", [](const Dims& shape, DType dtype) { return randn(shape, dtype); },
      "Standard normal numbers of a shape, as zeros().");
  m.def(
      "full",
      [](const Extents& shape, Number value, std::optional<DType> dtype, const Device& device) {
        require_cpu(device, "full");
        return full(shape.values, value, dtype);
      },
      nb::arg("shape"), nb::arg("fill_value"), nb::arg("dtype") = nb::none(),
      nb::arg("device") = nb::none(),
      "One number in a shape: bool, int64 or float32, as the number is, unless a dtype is "
      "given.\n\n"
      ">>> import coregrad as cg\n"
      ">>> cg.full(2, 7).tolist(), cg.full((1, 2), 0.5).tolist()\n"
      "([7, 7], [[0.5, 0.5]])\n\n"
      "Raises ValueError for a whole number that the dtype cannot hold.");
  bind_ranges(m);
  m.def(
      "randint",
      [](int64_t low, int64_t high, const Extents& shape) {
        return randint(low, high, shape.values);
      },
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
  cls.def_prop_ro(
      "is_leaf", [](const Tensor& t) { return !t.requires_grad() || t.state()->is_leaf; },
      "True where gradients stop: at what requires none, and at what was not computed.");
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
  m.def("is_grad_enabled", grad_enabled, "True unless this thread is inside of no_grad().");
  nb::class_<NoGrad>(m, "_NoGrad").def(nb::init<>());
}

/// A function of Python as one of C++. Its reference may go on a thread without the interpreter's
/// lock.
CompiledFunction::Function function_of(const nb::callable& callable) {
  const std::shared_ptr<nb::callable> held(new nb::callable(callable), [](nb::callable* p) {
    const nb::gil_scoped_acquire gil;
    delete p;
  });
  return [held](std::span<const Tensor> arguments) {
    const nb::gil_scoped_acquire gil;
    nb::list list;
    for (const Tensor& t : arguments) list.append(nb::cast(t));
    return nb::cast<std::vector<Tensor>>((*held)(list));
  };
}

void bind_compiled_functions(nb::module_& m) {
  using Recorded = CompiledFunction::Recorded;
  nb::class_<Recorded>(m, "Recorded", "One recording of a compiled function.")
      .def_ro("signature", &Recorded::signature, "Dtypes and shapes of its arguments.")
      .def_ro("inputs", &Recorded::inputs,
              "How many arguments, outside tensors and seeds a call reads.")
      .def_ro("updates", &Recorded::updates, "How many outside tensors and gradients it changes.")
      .def_ro("steps", &Recorded::steps, "Of the plan.")
      .def_ro("calls", &Recorded::calls, "That it served.")
      .def_ro("reason", &Recorded::reason, "Why calls record instead; empty if they do not.")
      .def("__repr__", [](const Recorded& r) {
        if (!r.reason.empty())
          return fmt::format("({}): recorded by each call: {}", r.signature, r.reason);
        return fmt::format("({}): {} calls, {} steps, {} inputs, {} updates", r.signature, r.calls,
                           r.steps, r.inputs, r.updates);
      });
  nb::class_<CompiledFunction>(m, "_CompiledFunction")
      .def(
          "__init__",
          [](CompiledFunction* self, const nb::callable& function, bool dynamic) {
            new (self) CompiledFunction(function_of(function), {dynamic});
          },
          nb::arg("function"), nb::arg("dynamic"))
      .def("call",
           [](const CompiledFunction& f, const std::vector<Tensor>& arguments) {
             CompiledFunction::Call made;
             {
               const nb::gil_scoped_release release;
               made = f.call(arguments);
             }
             return std::pair(std::move(made.results), made.recording);
           })
      .def("report", &CompiledFunction::report);
}

}  // namespace

void bind_tensor(nb::module_& m) {
  m.def(
      "_dtype", [](DType dtype) { return dtype; }, nb::arg("dtype"),
      "The DType of anything that names one.");
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
                         "[3.0, 5.0, 7.0]",
                         nb::type_slots(array_slots()));
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
      .def("_item",
           [](const Tensor& t) {
             const nb::gil_scoped_release release;
             return t.item();
           })
      .def("assign", &Tensor::assign, nb::arg("value"), nb::call_guard<nb::gil_scoped_release>(),
           "Makes this tensor stand for another one's value of the same shape and dtype.");
  bind_arrays(m, cls);
  bind_tensor_operators(m, cls);
  bind_python_operators(cls);
  bind_products(m);
  bind_extremes(m, cls);
  bind_others(m, cls);
  bind_creation(m);
  bind_autograd(m, cls);
  bind_compiled_functions(m);
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
