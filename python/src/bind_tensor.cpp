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
    case DType::UInt8:
    case DType::Int16:
      break;  // no tensor has them
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

/// A tensor or a Python number; anything else is another class's business.
Operand to_operand(nb::handle value) {
  if (nb::isinstance<Tensor>(value)) return Operand(nb::cast<Tensor>(value));
  if (PyBool_Check(value.ptr())) return Operand(nb::cast<bool>(value));
  if (PyLong_Check(value.ptr())) return Operand(nb::cast<int64_t>(value));
  if (PyFloat_Check(value.ptr())) return Operand(nb::cast<double>(value));
  throw nb::next_overload();
}

using Unary = Tensor (*)(const Tensor&);
using Binary = Tensor (*)(const Operand&, const Operand&);
using Reduction = Tensor (*)(const Tensor&, const Dims&, bool);

/// One dimension, several, or none for all.
Dims to_dims(nb::handle dim) {
  if (dim.is_none()) return {};
  if (PyLong_Check(dim.ptr())) return {nb::cast<int64_t>(dim)};
  return nb::cast<Dims>(dim);
}

void bind_unary(nb::module_& m, nb::class_<Tensor>& cls) {
  struct Row {
    const char* name;
    Unary function;
    const char* doc;
  };
  constexpr Row rows[] = {
      {"neg", neg, "The negative of each element."},
      {"abs", abs, "The absolute value of each element."},
      {"sign", sign, "-1, 0 or 1 by the sign of each element."},
      {"exp", exp, "e to the power of each element."},
      {"exp2", exp2, "2 to the power of each element."},
      {"expm1", expm1, "exp(x) - 1, exact near 0."},
      {"log", log, "The natural logarithm of each element."},
      {"log2", log2, "The logarithm to base 2 of each element."},
      {"log10", log10, "The logarithm to base 10 of each element."},
      {"log1p", log1p, "log(1 + x), exact near 0."},
      {"sqrt", sqrt, "The square root of each element."},
      {"rsqrt", rsqrt, "One over the square root of each element."},
      {"reciprocal", reciprocal, "One over each element."},
      {"sin", sin, "The sine of each element, in radians."},
      {"cos", cos, "The cosine of each element, in radians."},
      {"tan", tan, "The tangent of each element, in radians."},
      {"asin", asin, "The inverse sine of each element."},
      {"acos", acos, "The inverse cosine of each element."},
      {"atan", atan, "The inverse tangent of each element."},
      {"sinh", sinh, "The hyperbolic sine of each element."},
      {"cosh", cosh, "The hyperbolic cosine of each element."},
      {"tanh", tanh, "The hyperbolic tangent of each element."},
      {"asinh", asinh, "The inverse hyperbolic sine of each element."},
      {"acosh", acosh, "The inverse hyperbolic cosine of each element."},
      {"atanh", atanh, "The inverse hyperbolic tangent of each element."},
      {"erf", erf, "The error function of each element."},
      {"erfc", erfc, "1 - erf(x), exact where that cancels."},
      {"logit", logit, "log(x / (1 - x)) for each element."},
      {"floor", floor, "The largest whole number not above each element."},
      {"ceil", ceil, "The smallest whole number not below each element."},
      {"round", round, "The nearest whole number, halves to even."},
      {"trunc", trunc, "Each element without its fraction."},
      {"logical_not", logical_not, "True where an element is zero."},
      {"isnan", isnan, "True where an element is NaN."},
      {"isinf", isinf, "True where an element is infinite."},
      {"isfinite", isfinite, "True where an element is neither NaN nor infinite."},
      {"square", square, "Each element times itself."},
      {"relu", relu, "max(x, 0) for each element."},
      {"sigmoid", sigmoid, "1 / (1 + exp(-x)) for each element."},
      {"gelu", gelu, "x times the normal distribution function of x."},
      {"gelu_tanh", gelu_tanh, "gelu by the approximation with tanh."},
      {"silu", silu, "x * sigmoid(x) for each element."},
      {"hardswish", hardswish, "x * clamp(x + 3, 0, 6) / 6 for each element."},
  };
  for (const Row& row : rows) {
    cls.def(row.name, row.function, row.doc);
    m.def(row.name, row.function, nb::arg("x"), row.doc);
  }
  cls.def("__neg__", neg).def("__abs__", abs).def("__invert__", logical_not);
}

void bind_binary(nb::module_& m, nb::class_<Tensor>& cls) {
  struct Row {
    const char *name, *forward, *reflected;
    Binary function;
    const char* doc;
  };
  constexpr Row rows[] = {
      {"add", "__add__", "__radd__", add, "a + b with broadcasting."},
      {"sub", "__sub__", "__rsub__", sub, "a - b with broadcasting."},
      {"mul", "__mul__", "__rmul__", mul, "a * b with broadcasting."},
      {"div", "__truediv__", "__rtruediv__", div,
       "a / b with broadcasting; integers give float32."},
      {"pow", "__pow__", "__rpow__", pow, "a to the power of b with broadcasting."},
      {"floor_divide", "__floordiv__", "__rfloordiv__", floor_divide,
       "a / b rounded towards minus infinity."},
      {"remainder", "__mod__", "__rmod__", remainder, "Remainder of a / b with the sign of b."},
      {"fmod", nullptr, nullptr, fmod, "Remainder of a / b with the sign of a."},
      {"hypot", nullptr, nullptr, hypot, "sqrt(a^2 + b^2) with broadcasting."},
      {"logaddexp", nullptr, nullptr, logaddexp, "log(exp(a) + exp(b)) without overflow."},
      {"xlogy", nullptr, nullptr, xlogy, "a * log(b), 0 where a is 0."},
      {"maximum", nullptr, nullptr, maximum, "The larger of a and b; NaN wins."},
      {"minimum", nullptr, nullptr, minimum, "The smaller of a and b; NaN wins."},
      {"atan2", nullptr, nullptr, atan2, "The angle of the point (b, a)."},
      {"logical_and", "__and__", "__rand__", logical_and, "True where both are not zero."},
      {"logical_or", "__or__", "__ror__", logical_or, "True where one is not zero."},
      {"logical_xor", "__xor__", "__rxor__", logical_xor, "True where exactly one is not zero."},
      {"equal", "__eq__", nullptr, equal, "True where a and b are equal."},
      {"not_equal", "__ne__", nullptr, not_equal, "True where a and b differ."},
      {"less", "__lt__", nullptr, less, "True where a is below b."},
      {"less_equal", "__le__", nullptr, less_equal, "True where a is at most b."},
      {"greater", "__gt__", nullptr, greater, "True where a is above b."},
      {"greater_equal", "__ge__", nullptr, greater_equal, "True where a is at least b."},
  };
  for (const Row& row : rows) {
    const Binary function = row.function;
    const auto call = [function](nb::handle a, nb::handle b) {
      return function(to_operand(a), to_operand(b));
    };
    const auto reflected = [function](nb::handle a, nb::handle b) {
      return function(to_operand(b), to_operand(a));
    };
    m.def(row.name, call, nb::arg("a"), nb::arg("b"), row.doc);
    if (row.forward != nullptr) cls.def(row.forward, call, nb::is_operator(), row.doc);
    if (row.reflected != nullptr) cls.def(row.reflected, reflected, nb::is_operator(), row.doc);
  }
  cls.def("__matmul__", matmul, nb::is_operator(), "The matrix product.");
  m.def("matmul", matmul, nb::arg("a"), nb::arg("b"),
        "The matrix product of [.., m, k] and [.., k, n], with broadcasting of the leading\n"
        "dimensions; a vector is a row on the left and a column on the right.\n\n"
        "Raises ShapeError when the inner sizes differ.\n\n"
        ">>> import coregrad as cg\n"
        ">>> cg.matmul(cg.ones((2, 3)), cg.ones((3, 2))).tolist()\n"
        "[[3.0, 3.0], [3.0, 3.0]]");
  m.def(
      "where",
      [](const Tensor& condition, nb::handle a, nb::handle b) {
        return where(condition, to_operand(a), to_operand(b));
      },
      nb::arg("condition"), nb::arg("a"), nb::arg("b"),
      "a where the condition holds, b elsewhere.");
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
  m.def("bmm", bmm, nb::arg("a"), nb::arg("b"),
        "[n, i, k] @ [n, k, j]; ShapeError for anything else.");
  m.def("outer", outer, nb::arg("a"), nb::arg("b"), "All products of [n] and [m]: [n, m].");
  m.def("softplus", softplus, nb::arg("x"), nb::arg("beta") = 1.0, nb::arg("threshold") = 20.0,
        "log(1 + exp(beta * x)) / beta; x where beta * x > threshold.");
  m.def("leaky_relu", leaky_relu, nb::arg("x"), nb::arg("slope") = 0.01,
        "x where positive, slope * x elsewhere.");
  m.def("elu", elu, nb::arg("x"), nb::arg("alpha") = 1.0,
        "x where positive, alpha * (exp(x) - 1) elsewhere.");
}

void bind_reductions(nb::module_& m, nb::class_<Tensor>& cls) {
  struct Row {
    const char* name;
    Reduction function;
    const char* doc;
  };
  constexpr Row rows[] = {
      {"sum", sum, "The sum over a dimension, several, or all."},
      {"prod", prod, "The product over a dimension, several, or all."},
      {"mean", mean, "The mean over a dimension, several, or all; DTypeError unless floating."},
      {"max", max, "The largest element over a dimension, several, or all; NaN wins."},
      {"min", min, "The smallest element over a dimension, several, or all; NaN wins."},
      {"any", any, "True if one element is not zero."},
      {"all", all, "True if no element is zero."},
  };
  for (const Row& row : rows) {
    const Reduction function = row.function;
    const auto call = [function](const Tensor& x, nb::handle dim, bool keepdim) {
      return function(x, to_dims(dim), keepdim);
    };
    cls.def(row.name, call, nb::arg("dim") = nb::none(), nb::arg("keepdim") = false, row.doc);
    m.def(row.name, call, nb::arg("x"), nb::arg("dim") = nb::none(), nb::arg("keepdim") = false,
          row.doc);
  }
  const auto variance = [](const Tensor& x, nb::handle dim, double correction, bool keepdim) {
    return var(x, to_dims(dim), correction, keepdim);
  };
  const auto deviation = [](const Tensor& x, nb::handle dim, double correction, bool keepdim) {
    return std_dev(x, to_dims(dim), correction, keepdim);
  };
  cls.def("var", variance, nb::arg("dim") = nb::none(), nb::arg("correction") = 1.0,
          nb::arg("keepdim") = false, "The variance; the sum is divided by count - correction.");
  cls.def("std", deviation, nb::arg("dim") = nb::none(), nb::arg("correction") = 1.0,
          nb::arg("keepdim") = false, "The square root of the variance.");
  cls.def("argmax", argmax, nb::arg("dim"), nb::arg("keepdim") = false,
          "Index of the largest element of a dimension; the first of equals.");
  cls.def("argmin", argmin, nb::arg("dim"), nb::arg("keepdim") = false,
          "Index of the smallest element of a dimension; the first of equals.");
  const auto p_norm = [](const Tensor& x, double p, nb::handle dim, bool keepdim) {
    return norm(x, p, to_dims(dim), keepdim);
  };
  cls.def("norm", p_norm, nb::arg("p") = 2.0, nb::arg("dim") = nb::none(),
          nb::arg("keepdim") = false, "The p-norm over a dimension, several, or all.");
  cls.def(
      "logsumexp",
      [](const Tensor& x, nb::handle dim, bool keepdim) {
        return logsumexp(x, to_dims(dim), keepdim);
      },
      nb::arg("dim"), nb::arg("keepdim") = false, "log(sum(exp(x))) without overflow.");
  cls.def(
      "count_nonzero",
      [](const Tensor& x, nb::handle dim) { return count_nonzero(x, to_dims(dim)); },
      nb::arg("dim") = nb::none(), "How many elements are not zero; int64.");
  cls.def("cumsum", cumsum, nb::arg("dim"), "Running sums along a dimension.");
  cls.def("cumprod", cumprod, nb::arg("dim"), "Running products along a dimension.");
}

void bind_views(nb::module_& m, nb::class_<Tensor>& cls) {
  cls.def("reshape", reshape, nb::arg("shape"),
          "The same elements in another shape; one -1 is found.");
  cls.def("permute", permute, nb::arg("order"), "Dimensions in another order.");
  cls.def("transpose", transpose, nb::arg("dim_a"), nb::arg("dim_b"), "Two dimensions exchanged.");
  cls.def("broadcast_to", broadcast_to, nb::arg("shape"), "Repeated along dimensions of extent 1.");
  cls.def("unsqueeze", unsqueeze, nb::arg("dim"), "A dimension of extent 1 put in.");
  cls.def("squeeze", squeeze, nb::arg("dims"), "Dimensions of extent 1 taken out.");
  cls.def("slice", slice, nb::arg("dim"), nb::arg("start"), nb::arg("stop"), nb::arg("step") = 1,
          "Elements start, start + step, .. below stop of a dimension.");
  cls.def("select", select, nb::arg("dim"), nb::arg("index"), "One index of a dimension.");
  cls.def("flip", flip, nb::arg("dims"), "Dimensions reversed.");
  cls.def("pad", pad, nb::arg("low"), nb::arg("high"), nb::arg("fill") = 0.0,
          "Elements put before and after each dimension.");
  cls.def("split", split, nb::arg("size"), nb::arg("dim") = 0, "Pieces along a dimension.");
  cls.def("cast", cast, nb::arg("dtype"), "The elements in another dtype.");
  cls.def("gather", gather, nb::arg("dim"), nb::arg("index"), "Elements picked along a dimension.");
  cls.def("scatter_add", scatter_add, nb::arg("dim"), nb::arg("index"), nb::arg("values"),
          "Values added at indices of a dimension.");
  cls.def("index_select", index_select, nb::arg("dim"), nb::arg("index"),
          "The given indices of a dimension.");
  cls.def("sort", sort, nb::arg("dim") = -1, nb::arg("descending") = false, "Sorted elements.");
  cls.def("argsort", argsort, nb::arg("dim") = -1, nb::arg("descending") = false,
          "Indices that sort a dimension; stable.");
  cls.def("topk", topk, nb::arg("k"), nb::arg("dim") = -1, nb::arg("largest") = true,
          "The k largest (or smallest) of a dimension in order, and their positions.");
  cls.def("take_along_dim", take_along_dim, nb::arg("index"), nb::arg("dim"),
          "gather() with broadcasting of the other dimensions.");
  cls.def("index_add", index_add, nb::arg("dim"), nb::arg("index"), nb::arg("source"),
          "source[i] added to slice index[i] of a dimension.");
  cls.def(
      "index_put",
      [](const Tensor& x, const std::vector<Tensor>& indices, const Tensor& values,
         bool accumulate) { return index_put(x, indices, values, accumulate); },
      nb::arg("indices"), nb::arg("values"), nb::arg("accumulate") = false,
      "Values put (or added) at the places that one index tensor per leading dimension gives.");
  cls.def("roll", roll, nb::arg("shift"), nb::arg("dim"),
          "Elements shifted along a dimension; those that leave come back at the other end.");
  cls.def("tile", tile, nb::arg("counts"), "Repeated counts[d] times along dimension d.");
  cls.def("repeat_interleave", repeat_interleave, nb::arg("count"), nb::arg("dim"),
          "Each index of a dimension count times in a row.");
  cls.def("tril", tril, nb::arg("diagonal") = 0, "Zeros above a diagonal of the last dimensions.");
  cls.def("triu", triu, nb::arg("diagonal") = 0, "Zeros below a diagonal of the last dimensions.");
  cls.def("diagonal", diagonal, nb::arg("offset") = 0, nb::arg("dim_a") = 0, nb::arg("dim_b") = 1,
          "Elements with equal indices in two dimensions, as a new last dimension.");
  cls.def("masked_fill", masked_fill, nb::arg("mask"), nb::arg("value"),
          "The value where the mask holds, the elements elsewhere.");
  cls.def("nan_to_num", nan_to_num, nb::arg("nan") = 0.0, nb::arg("posinf") = nb::none(),
          nb::arg("neginf") = nb::none(), "NaN and infinities replaced by numbers.");
  cls.def(
      "lerp",
      [](const Tensor& x, const Tensor& end, nb::handle weight) {
        return lerp(x, end, to_operand(weight));
      },
      nb::arg("end"), nb::arg("weight"), "self + weight * (end - self).");
  cls.def(
      "clamp",
      [](const Tensor& x, nb::handle low, nb::handle high) {
        const auto bound = [](nb::handle b) {
          return b.is_none() ? std::nullopt : std::optional(to_operand(b));
        };
        return clamp(x, bound(low), bound(high));
      },
      nb::arg("min") = nb::none(), nb::arg("max") = nb::none(),
      "Elements limited to bounds, of which one may be missing.");
  cls.def("softmax", softmax, nb::arg("dim"), "Positive weights that sum to 1 along a dimension.");
  cls.def("log_softmax", log_softmax, nb::arg("dim"), "The logarithm of softmax.");
  m.def(
      "concat", [](const std::vector<Tensor>& parts, int64_t dim) { return concat(parts, dim); },
      nb::arg("parts"), nb::arg("dim") = 0, "Tensors joined along a dimension they have.");
  m.def(
      "stack", [](const std::vector<Tensor>& parts, int64_t dim) { return stack(parts, dim); },
      nb::arg("parts"), nb::arg("dim") = 0, "Tensors joined along a new dimension.");
}

void bind_creation(nb::module_& m) {
  const auto f32 = DType::Float32;
  m.def(
      "from_array", [](const Array& array) { return from_array(array, dtype_from(array.dtype())); },
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
  m.def("arange", arange, nb::arg("start"), nb::arg("stop"), nb::arg("step") = 1.0,
        nb::arg("dtype") = DType::Int64, "start, start + step, .. before stop.");
  m.def("linspace", linspace, nb::arg("start"), nb::arg("stop"), nb::arg("count"),
        nb::arg("dtype") = f32, "Evenly spaced values, both ends included.");
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

void bind_networks(nb::module_& m) {
  using Parameters = std::vector<Tensor>;
  nb::class_<optim::Optimizer>(m, "Optimizer", "Updates parameters from their gradients.")
      .def(
          "step",
          [](optim::Optimizer& o, const std::vector<Tensor>& together) {
            const nb::gil_scoped_release release;
            o.step(together);
          },
          nb::arg("together") = std::vector<Tensor>(),
          "Updates every parameter that has a gradient; `together` is realised in the same plan.")
      .def("zero_grad", &optim::Optimizer::zero_grad, "Forgets all gradients.")
      .def_prop_rw("lr", &optim::Optimizer::learning_rate, &optim::Optimizer::set_learning_rate,
                   "The learning rate.");
  nb::class_<optim::SGD, optim::Optimizer>(m, "SGD", "Gradient descent with momentum.")
      .def(
          "__init__",
          [](optim::SGD* self, Parameters p, double lr, double momentum, double decay,
             bool nesterov) {
            new (self) optim::SGD(std::move(p), lr, {momentum, decay, nesterov});
          },
          nb::arg("parameters"), nb::arg("lr") = 1e-3, nb::arg("momentum") = 0.0,
          nb::arg("weight_decay") = 0.0, nb::arg("nesterov") = false);
  nb::class_<optim::Adam, optim::Optimizer>(m, "Adam", "Adam; AdamW with decoupled=True.")
      .def(
          "__init__",
          [](optim::Adam* self, Parameters p, double lr, std::pair<double, double> betas,
             double eps, double decay, bool decoupled) {
            new (self)
                optim::Adam(std::move(p), lr, {betas.first, betas.second, eps, decay, decoupled});
          },
          nb::arg("parameters"), nb::arg("lr") = 1e-3, nb::arg("betas") = std::pair(0.9, 0.999),
          nb::arg("eps") = 1e-8, nb::arg("weight_decay") = 0.0, nb::arg("decoupled") = false);

  nb::class_<nn::Module>(m, "Module", "Something with parameters that maps a tensor to a tensor.")
      .def("__call__", &nn::Module::forward, nb::arg("x"))
      .def("parameters", &nn::Module::parameters, "All parameters.")
      .def("named_parameters", &nn::Module::named_parameters, nb::arg("prefix") = "",
           "All parameters with PyTorch's names.");
  nb::class_<nn::Linear, nn::Module>(m, "Linear", "y = x W^T + b; weight [out, in], bias [out].")
      .def(
          "__init__",
          [](nn::Linear* self, int64_t in, int64_t out, bool bias) {
            new (self) nn::Linear(in, out, bias);
          },
          nb::arg("in_features"), nb::arg("out_features"), nb::arg("bias") = true)
      .def_ro("weight", &nn::Linear::weight)
      .def_prop_ro("bias", [](const nn::Linear& l) -> nb::object {
        return l.bias.is_defined() ? nb::cast(l.bias) : nb::none();
      });
  nb::class_<nn::ReLU, nn::Module>(m, "ReLU", "max(x, 0).").def(nb::init<>());
}

}  // namespace

void bind_tensor(nb::module_& m) {
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
  bind_unary(m, cls);
  bind_binary(m, cls);
  bind_products(m);
  bind_reductions(m, cls);
  bind_views(m, cls);
  bind_creation(m);
  bind_autograd(m, cls);
  bind_networks(m);
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
