// Fourier transforms of complex numbers as pairs of real nodes: products with the transform's
// matrix, in factors of the length. In float64: sums of a whole row are less exact than those of a
// fast transform.

#include "base/checked.h"
#include "ops/detail.h"
#include "ops/expression.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

namespace coregrad::ops {
namespace {

// Of a transform's length: what one product with a matrix does, and what it does best.
constexpr int64_t kLargestFactor = 128, kLargestWhole = 32;

struct Complex {
  Expr re;
  std::optional<Expr> im;  ///< none for 0
};

template <class F>
Complex each(const Complex& x, F apply) {
  return {apply(x.re), x.im ? std::optional(apply(*x.im)) : std::nullopt};
}

Expr reshaped(const Expr& x, std::initializer_list<SymInt> shape) {
  return {*x.graph, reshape(*x.graph, x.node, std::span(shape.begin(), shape.size()))};
}

Expr product(const Expr& a, const Expr& b) { return {*a.graph, matmul(*a.graph, a.node, b.node)}; }

// exp(sign * 2 pi i * j * k / n) for rows j and columns k.
Complex wave(Graph& g, int64_t rows, int64_t columns, int64_t n, int sign) {
  const Expr j(g, unsqueeze(g, iota(g, DType::Int64, rows), 1));
  const Expr k(g, unsqueeze(g, iota(g, DType::Int64, columns), 0));
  const Expr turns = fmod(j * k, static_cast<double>(n));  // whole numbers: exact
  const Expr angle = Expr(g, cast(g, turns.node, DType::Float64)) *
                     (2 * std::numbers::pi / static_cast<double>(n));
  return {cos(angle), sign > 0 ? sin(angle) : -sin(angle)};
}

// [m, k] @ [k, n]
Complex multiplied(const Complex& x, const Complex& matrix) {
  const Expr re = product(x.re, matrix.re), im = product(x.re, *matrix.im);
  if (!x.im) return {re, im};
  return {re - product(*x.im, *matrix.im), im + product(*x.im, matrix.re)};
}

// The largest one up to the root.
int64_t divisor_of(int64_t n) {
  int64_t largest = 1;
  for (int64_t d = 2; d <= n / d; ++d)
    if (n % d == 0) largest = d;
  return largest;
}

// Each row of [m, n].
Complex transformed_rows(Graph& g, const Complex& x, int64_t n, int sign,
                         std::string_view operation) {
  const int64_t few = divisor_of(n);
  if (n <= kLargestWhole || few == 1) {
    if (n > kLargestFactor)
      raise<UnsupportedError>("{}: lengths with a prime factor above {} are not taken: got {}",
                              operation, kLargestFactor, n);
    return multiplied(x, wave(g, n, n, n, sign));
  }
  // Element j = a * many + c, frequency k = f + few * g: over a, then a twist, then over c.
  const int64_t many = n / few, m = g.shape(x.re.node)[0];
  const auto turned = [&](const Expr& v, int64_t first, int64_t second) {
    const Expr apart = reshaped(v, {m, first, second});
    return reshaped({g, transpose(g, apart.node, 1, 2)}, {m * second, first});
  };
  const Complex parts = each(x, [&](const Expr& v) { return turned(v, few, many); });
  const Complex outer = each(transformed_rows(g, parts, few, sign, operation),
                             [&](const Expr& v) { return reshaped(v, {m, many, few}); });
  const Complex twist = wave(g, many, few, n, sign);
  const Complex twisted = {outer.re * twist.re - *outer.im * *twist.im,
                           outer.re * *twist.im + *outer.im * twist.re};
  const Complex inner = each(twisted, [&](const Expr& v) { return turned(v, many, few); });
  return each(transformed_rows(g, inner, many, sign, operation), [&](const Expr& v) {
    const Expr apart = reshaped(v, {m, few, many});
    return reshaped({g, transpose(g, apart.node, 1, 2)}, {m, n});
  });
}

Complex transformed(Graph& g, const Complex& x, int64_t dim, int sign, std::string_view operation) {
  const Dims shape = shape_of(g, x.re.node);
  const auto rank = static_cast<int64_t>(shape.size());
  Dims order, outer, back(shape.size());
  for (int64_t d = 0; d < rank; ++d)
    if (d != dim) order.push_back(d);
  order.push_back(dim);
  for (int64_t d = 0; d < rank; ++d) {
    outer.push_back(shape[order[d]]);
    back[order[d]] = d;
  }
  const Complex rows = each(
      x, [&](const Expr& v) { return reshaped({g, permute(g, v.node, order)}, {-1, shape[dim]}); });
  return each(transformed_rows(g, rows, shape[dim], sign, operation),
              [&](const Expr& v) { return Expr(g, permute(g, reshape(g, v.node, outer), back)); });
}

// Dimensions from the front, each once.
Dims checked_dims(const Graph& g, NodeId x, SymInts dims, std::string_view operation) {
  Dims result;
  for (const int64_t d : dims) {
    const int64_t dim = normalize_dim(d, g.rank(x), operation);
    if (std::ranges::find(result, dim) != result.end())
      raise<ValueError>("{}: each dimension may appear once: got {} again", operation, d);
    result.push_back(dim);
  }
  return result;
}

void require_one_shape(const Graph& g, NodeId real, NodeId imag, std::string_view operation) {
  if (!same_shape(g.shape(real), g.shape(imag)))
    raise<ShapeError>("{}: real and imaginary parts must have one shape: got {} and {}", operation,
                      describe(g, real), describe(g, imag));
}

void require_elements(const Graph& g, NodeId x, int64_t dim, std::string_view operation) {
  if (g.shape(x)[dim] == 0)
    raise<ShapeError>("{}: there must be elements along dimension {}: got {}", operation, dim,
                      describe(g, x));
}

// As it is, by the root of the number of elements, or by the number.
double factor_of(int64_t normalization, const Dims& shape, const Dims& dims,
                 std::string_view operation) {
  if (normalization < 0 || normalization > 2)
    raise<ValueError>("{}: the normalization must be 0, 1 or 2: got {}", operation, normalization);
  int64_t count = 1;
  for (const int64_t d : dims) count = checked_mul(count, shape[d], operation);
  const auto n = static_cast<double>(count);
  return normalization == 0 ? 1 : normalization == 1 ? 1 / std::sqrt(n) : 1 / n;
}

// Scaled, in the operand's dtype.
NodeId finished(Graph& g, const Expr& x, double factor, DType dtype) {
  return cast(g, factor == 1 ? x.node : (x * factor).node, dtype);
}

NodeId nothing(Graph& g, const Dims& shape, DType dtype) {
  return full(g, shape, Scalar::of(dtype, 0));
}

}  // namespace

std::pair<NodeId, NodeId> fft_c2c(Graph& g, NodeId real, NodeId imag, SymInts dim,
                                  int64_t normalization, bool forward) {
  constexpr std::string_view kName = "fft_c2c";
  require_one_shape(g, real, imag, kName);
  const Dims dims = checked_dims(g, real, dim, kName);
  const double factor = factor_of(normalization, shape_of(g, real), dims, kName);
  for (const int64_t d : dims) require_elements(g, real, d, kName);
  if (g.numel(real) == 0) return {real, imag};
  Complex x = {wide(g, real), wide(g, imag)};
  for (const int64_t d : dims) x = transformed(g, x, d, forward ? -1 : 1, kName);
  const DType dtype = g.dtype(real);
  return {finished(g, x.re, factor, dtype), finished(g, *x.im, factor, dtype)};
}

std::pair<NodeId, NodeId> fft_r2c(Graph& g, NodeId input, SymInts dim, int64_t normalization,
                                  bool onesided) {
  constexpr std::string_view kName = "fft_r2c";
  const Dims dims = checked_dims(g, input, dim, kName);
  if (dims.empty()) raise<ValueError>("{}: there must be at least one dimension", kName);
  Dims shape = shape_of(g, input);
  const double factor = factor_of(normalization, shape, dims, kName);
  for (const int64_t d : dims) require_elements(g, input, d, kName);
  const DType dtype = g.dtype(input);
  const int64_t last = dims.back(), kept = shape[last] / 2 + 1;
  if (g.numel(input) == 0) {
    if (onesided) shape[last] = kept;
    return {nothing(g, shape, dtype), nothing(g, shape, dtype)};
  }
  Complex x = {wide(g, input), std::nullopt};
  for (size_t i = dims.size(); i-- > 0;) x = transformed(g, x, dims[i], -1, kName);
  const auto result = [&](const Expr& v) {
    return finished(g, onesided ? Expr(g, narrow(g, v.node, last, 0, kept)) : v, factor, dtype);
  };
  return {result(x.re), result(*x.im)};
}

NodeId fft_c2r(Graph& g, NodeId real, NodeId imag, SymInts dim, int64_t normalization,
               int64_t last_dim_size) {
  constexpr std::string_view kName = "fft_c2r";
  require_one_shape(g, real, imag, kName);
  const Dims dims = checked_dims(g, real, dim, kName);
  if (dims.empty()) raise<ValueError>("{}: there must be at least one dimension", kName);
  const int64_t last = dims.back(), n = last_dim_size;
  Dims shape = shape_of(g, real);
  if (n < 1 || shape[last] != n / 2 + 1)
    raise<ShapeError>("{}: half a spectrum of {} has {} elements: got {}", kName, n, n / 2 + 1,
                      describe(g, real));
  shape[last] = n;
  const double factor = factor_of(normalization, shape, dims, kName);
  for (const int64_t d : dims) require_elements(g, real, d, kName);
  const DType dtype = g.dtype(real);
  if (g.numel(real) == 0) return nothing(g, shape, dtype);
  Complex x = {wide(g, real), wide(g, imag)};
  for (size_t i = 0; i + 1 < dims.size(); ++i) x = transformed(g, x, dims[i], 1, kName);
  // The other half is the conjugate, backwards.
  const auto joined = [&](const Expr& half, bool is_imaginary) {
    const Expr rest(g, flip(g, narrow(g, half.node, last, 1, n - n / 2), {{last}}));
    const NodeId parts[] = {half.node, is_imaginary ? (-rest).node : rest.node};
    return Expr(g, concat(g, parts, last));
  };
  x = {joined(x.re, false), joined(*x.im, true)};
  return finished(g, transformed(g, x, last, 1, kName).re, factor, dtype);
}

}  // namespace coregrad::ops
