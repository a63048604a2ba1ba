#pragma once
// Operations on tensors. All of them record; shapes and dtypes are checked when they are called,
// and the errors name the operation, the rule and what was got. Promotion and broadcasting are
// PyTorch's.

#include "coregrad/tensor.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#pragma GCC visibility push(default)
namespace coregrad {

/// A number of C++'s: bool, whole (int64) or floating (float64). ValueError for whole ones beyond
/// int64.
class Number {
 public:
  template <class T>
    requires std::is_arithmetic_v<T>
  Number(T value) {  // NOLINT: meant to convert
    if constexpr (std::is_floating_point_v<T>) {
      value_ = Scalar::of_float(DType::Float64, static_cast<double>(value));
    } else {
      if (!std::in_range<int64_t>(static_cast<std::common_type_t<T, int>>(value)))
        throw ValueError("number: whole numbers are int64, got " + std::to_string(value));
      value_ = Scalar::of_int(std::is_same_v<T, bool> ? DType::Bool : DType::Int64,
                              static_cast<int64_t>(value));
    }
  }

  Scalar value() const { return value_; }
  bool is_floating() const { return is_float(value_.dtype); }
  double to_double() const { return value_.as_double(); }
  /// What a tensor of it has: float32 of a floating number.
  DType dtype() const { return is_floating() ? DType::Float32 : value_.dtype; }

 private:
  Scalar value_;
};

/// A tensor or a number. A number takes the tensor's dtype unless it is of a higher category.
class Operand {
 public:
  Operand(const Tensor& tensor) : tensor_(tensor) {}  // NOLINT: meant to convert
  Operand(Number number) : number_(number) {}         // NOLINT
  template <class T>
    requires std::is_arithmetic_v<T>
  Operand(T value) : Operand(Number(value)) {}  // NOLINT

  bool is_number() const { return number_.has_value(); }
  const Tensor& tensor() const { return tensor_; }
  Scalar number() const { return number_->value(); }

 private:
  Tensor tensor_;
  std::optional<Number> number_;
};

// Creation
Tensor zeros(const Dims& shape, DType dtype = DType::Float32);
Tensor ones(const Dims& shape, DType dtype = DType::Float32);
Tensor full(const Dims& shape, Scalar value);
/// Of the number's own dtype unless one is given; ValueError for a whole number that it cannot
/// hold.
Tensor full(const Dims& shape, Number value, std::optional<DType> dtype = {});
/// start, start + step, .. below (above for a negative step) stop; of int64 if none of the three is
/// floating, else of float32, unless a dtype is given. ValueError where no steps lead there, and
/// for numbers with fractions where the dtype is whole.
Tensor arange(Number start, Number stop, Number step = 1, std::optional<DType> dtype = {});
/// 0, 1, .. before stop.
inline Tensor arange(Number stop) { return arange(0, stop); }
/// `count` values from start to stop, evenly spaced; stop is the last one, or would be the next one
/// unless `endpoint`.
Tensor linspace(double start, double stop, int64_t count, DType dtype = DType::Float32,
                bool endpoint = true);
/// Ones where column - row is `k`.
Tensor eye(int64_t rows, int64_t columns, DType dtype = DType::Float32, int64_t k = 0);
/// Copies `values` (row-major).
template <class T>
Tensor from_vector(std::span<const T> values, const Dims& shape);
template <class T>
Tensor from_vector(const std::vector<T>& values, const Dims& shape) {
  return from_vector(std::span<const T>(values), shape);
}
/// Copies row-major bytes.
Tensor from_bytes(const void* data, DType dtype, const Dims& shape);
/// Reads somebody else's memory in place for as long as `owner` lives; it must not change. Strides
/// in elements, not negative; LayoutError if they lead outside of `bytes`.
Tensor from_memory(void* data, int64_t bytes, DType dtype, const Dims& shape, const Dims& strides,
                   std::shared_ptr<void> owner);
/// A number as a tensor of rank 0 that is data, not part of the graph's structure: give changing
/// numbers (a learning rate) this way and plans are found again.
Tensor scalar_data(Scalar value);

// Elementwise, one operand
Tensor neg(const Tensor& x);
Tensor abs(const Tensor& x);
Tensor sign(const Tensor& x);
Tensor exp(const Tensor& x);
Tensor exp2(const Tensor& x);
Tensor expm1(const Tensor& x);
Tensor log(const Tensor& x);
Tensor log2(const Tensor& x);
Tensor log10(const Tensor& x);
Tensor log1p(const Tensor& x);
Tensor sqrt(const Tensor& x);
Tensor rsqrt(const Tensor& x);
Tensor reciprocal(const Tensor& x);
Tensor sin(const Tensor& x);
Tensor cos(const Tensor& x);
Tensor tan(const Tensor& x);
Tensor asin(const Tensor& x);
Tensor acos(const Tensor& x);
Tensor atan(const Tensor& x);
Tensor sinh(const Tensor& x);
Tensor cosh(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor asinh(const Tensor& x);
Tensor acosh(const Tensor& x);
Tensor atanh(const Tensor& x);
/// log(1 + exp(x)) without overflow.
Tensor log1pexp(const Tensor& x);
Tensor erf(const Tensor& x);
/// 1 - erf(x), exact where that cancels.
Tensor erfc(const Tensor& x);
/// log(x / (1 - x)).
Tensor logit(const Tensor& x);
Tensor floor(const Tensor& x);
Tensor ceil(const Tensor& x);
/// The nearest multiple of 10^-decimals, halves to even.
Tensor round(const Tensor& x, int64_t decimals = 0);
Tensor trunc(const Tensor& x);
Tensor logical_not(const Tensor& x);
Tensor isnan(const Tensor& x);
Tensor isinf(const Tensor& x);
Tensor isfinite(const Tensor& x);
/// NaN and infinities replaced; infinities by the largest finite values unless given.
Tensor nan_to_num(const Tensor& x, double nan = 0, std::optional<double> positive = {},
                  std::optional<double> negative = {});
Tensor square(const Tensor& x);
Tensor cast(const Tensor& x, DType dtype);

// Elementwise, two or three operands, with broadcasting
Tensor add(const Operand& a, const Operand& b);
Tensor sub(const Operand& a, const Operand& b);
Tensor mul(const Operand& a, const Operand& b);
/// Integers give float32, or their own dtype where the quotient is rounded: "trunc" towards zero,
/// "floor" downwards.
Tensor div(const Operand& a, const Operand& b,
           std::optional<std::string_view> rounding_mode = std::nullopt);
/// Remainder with the sign of the dividend.
Tensor fmod(const Operand& a, const Operand& b);
/// Remainder with the sign of the divisor, as Python's %.
Tensor remainder(const Operand& a, const Operand& b);
/// Quotient rounded towards minus infinity, as Python's //.
Tensor floor_divide(const Operand& a, const Operand& b);
Tensor pow(const Operand& a, const Operand& b);
/// sqrt(a^2 + b^2).
Tensor hypot(const Operand& a, const Operand& b);
/// log(exp(a) + exp(b)) without overflow.
Tensor logaddexp(const Operand& a, const Operand& b);
/// a * log(b), 0 where a is 0.
Tensor xlogy(const Operand& a, const Operand& b);
Tensor maximum(const Operand& a, const Operand& b);
Tensor minimum(const Operand& a, const Operand& b);
Tensor atan2(const Operand& a, const Operand& b);
Tensor logical_and(const Operand& a, const Operand& b);
Tensor logical_or(const Operand& a, const Operand& b);
Tensor logical_xor(const Operand& a, const Operand& b);
Tensor equal(const Operand& a, const Operand& b);
Tensor not_equal(const Operand& a, const Operand& b);
Tensor less(const Operand& a, const Operand& b);
Tensor less_equal(const Operand& a, const Operand& b);
Tensor greater(const Operand& a, const Operand& b);
Tensor greater_equal(const Operand& a, const Operand& b);
/// a where the condition holds, b elsewhere.
Tensor where(const Tensor& condition, const Operand& a, const Operand& b);
/// x limited to bounds, of which one may be missing; where they cross, the upper one wins.
Tensor clamp(const Tensor& x, const std::optional<Operand>& min,
             const std::optional<Operand>& max = std::nullopt);
/// start + weight * (end - start).
Tensor lerp(const Tensor& start, const Tensor& end, const Operand& weight);
/// x + value * a * b, and x + value * a / b.
Tensor addcmul(const Tensor& x, const Tensor& a, const Tensor& b, double value = 1);
Tensor addcdiv(const Tensor& x, const Tensor& a, const Tensor& b, double value = 1);
/// Of integers bit by bit, of bool as logic.
Tensor bitwise_not(const Tensor& x);
Tensor bitwise_and(const Operand& a, const Operand& b);
Tensor bitwise_or(const Operand& a, const Operand& b);
Tensor bitwise_xor(const Operand& a, const Operand& b);
Tensor bitwise_left_shift(const Operand& a, const Operand& b);
Tensor bitwise_right_shift(const Operand& a, const Operand& b);
/// The value where the mask holds, x elsewhere.
Tensor masked_fill(const Tensor& x, const Tensor& mask, const Operand& value);

inline Tensor operator-(const Tensor& x) { return neg(x); }
inline Tensor operator+(const Tensor& a, const Operand& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Operand& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Operand& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Operand& b) { return div(a, b); }
template <class T>
  requires std::is_arithmetic_v<T>
Tensor operator+(T a, const Tensor& b) {
  return add(a, b);
}
template <class T>
  requires std::is_arithmetic_v<T>
Tensor operator-(T a, const Tensor& b) {
  return sub(a, b);
}
template <class T>
  requires std::is_arithmetic_v<T>
Tensor operator*(T a, const Tensor& b) {
  return mul(a, b);
}
template <class T>
  requires std::is_arithmetic_v<T>
Tensor operator/(T a, const Tensor& b) {
  return div(a, b);
}

// Views: one extent of a reshape may be -1; dimensions may be negative
Tensor reshape(const Tensor& x, const Dims& shape);
Tensor permute(const Tensor& x, const Dims& order);
Tensor transpose(const Tensor& x, int64_t dim_a, int64_t dim_b);
Tensor broadcast_to(const Tensor& x, const Dims& shape);
Tensor unsqueeze(const Tensor& x, int64_t dim);
Tensor squeeze(const Tensor& x, const Dims& dims);
/// Without its dimensions of extent 1.
Tensor squeeze(const Tensor& x);
/// Elements start, start + step, .. below stop of one dimension; start and stop may be negative and
/// are clamped, as in Python.
Tensor slice(const Tensor& x, int64_t dim, int64_t start, int64_t stop, int64_t step = 1);
/// One index of a dimension, which disappears.
Tensor select(const Tensor& x, int64_t dim, int64_t index);
Tensor flip(const Tensor& x, const Dims& dims);
Tensor pad(const Tensor& x, const Dims& low, const Dims& high, double fill = 0);
/// Joined along a dimension; empty vectors count for nothing.
Tensor cat(std::span<const Tensor> tensors, int64_t dim = 0);
inline Tensor concat(std::span<const Tensor> parts, int64_t dim = 0) { return cat(parts, dim); }
Tensor stack(std::span<const Tensor> tensors, int64_t dim = 0);
/// Pieces of `size` along a dimension; the last may be smaller.
std::vector<Tensor> split(const Tensor& x, int64_t size, int64_t dim = 0);
/// Pieces of given sizes, which add up to the dimension's extent.
std::vector<Tensor> split_with_sizes(const Tensor& x, const Dims& sizes, int64_t dim = 0);
/// Elements shifted along dimensions (none: as one row); those that leave come back at the other
/// end.
Tensor roll(const Tensor& x, const Dims& shifts, const Dims& dims = {});
/// x repeated counts[d] times along dimension d; there may be more counts than dimensions.
Tensor tile(const Tensor& x, const Dims& counts);
/// Each index of a dimension `repeats` times in a row.
Tensor repeat_interleave(const Tensor& x, int64_t repeats, int64_t dim);
/// The last two dimensions with zeros above (tril) or below (triu) a diagonal.
Tensor tril(const Tensor& x, int64_t diagonal = 0);
Tensor triu(const Tensor& x, int64_t diagonal = 0);
/// Elements with equal indices in two dimensions, as a new last dimension.
Tensor diagonal(const Tensor& x, int64_t offset = 0, int64_t dim1 = 0, int64_t dim2 = 1);

// Reductions over `dim` (empty: all)
Tensor sum(const Tensor& x, const Dims& dim = {}, bool keepdim = false,
           std::optional<DType> dtype = {});
Tensor prod(const Tensor& x, const Dims& dim = {}, bool keepdim = false,
            std::optional<DType> dtype = {});
Tensor mean(const Tensor& x, const Dims& dim = {}, bool keepdim = false,
            std::optional<DType> dtype = {});
Tensor amax(const Tensor& x, const Dims& dim = {}, bool keepdim = false);
Tensor amin(const Tensor& x, const Dims& dim = {}, bool keepdim = false);
Tensor max(const Tensor& x, const Dims& dim = {}, bool keepdim = false);
Tensor min(const Tensor& x, const Dims& dim = {}, bool keepdim = false);
/// Divided by count - correction; computed in float64.
Tensor var(const Tensor& x, const Dims& dim = {}, double correction = 1, bool keepdim = false);
Tensor std(const Tensor& x, const Dims& dim = {}, double correction = 1, bool keepdim = false);
/// With the mean.
std::pair<Tensor, Tensor> var_mean(const Tensor& x, const Dims& dim = {}, double correction = 1,
                                   bool keepdim = false);
std::pair<Tensor, Tensor> std_mean(const Tensor& x, const Dims& dim = {}, double correction = 1,
                                   bool keepdim = false);
/// The p-norm; p may be 0 (count of non-zeros), negative and +-infinity.
Tensor norm(const Tensor& x, double p = 2, const Dims& dim = {}, bool keepdim = false);
Tensor logsumexp(const Tensor& x, const Dims& dim, bool keepdim = false);
Tensor count_nonzero(const Tensor& x, const Dims& dim = {});
Tensor any(const Tensor& x, const Dims& dim = {}, bool keepdim = false);
Tensor all(const Tensor& x, const Dims& dim = {}, bool keepdim = false);
/// int64 positions; without a dimension, in x as one row.
Tensor argmax(const Tensor& x, std::optional<int64_t> dim = {}, bool keepdim = false);
Tensor argmin(const Tensor& x, std::optional<int64_t> dim = {}, bool keepdim = false);
Tensor cumsum(const Tensor& x, int64_t dim, std::optional<DType> dtype = {});
Tensor cumprod(const Tensor& x, int64_t dim, std::optional<DType> dtype = {});
/// The largest (smallest) element so far and its int64 position, the last of equals.
std::pair<Tensor, Tensor> cummax(const Tensor& x, int64_t dim);
std::pair<Tensor, Tensor> cummin(const Tensor& x, int64_t dim);

// Indexing
Tensor gather(const Tensor& x, int64_t dim, const Tensor& index);
/// x with src[.., i, ..], which may be a number, put at index[.., i, ..] of a dimension.
Tensor scatter(const Tensor& x, int64_t dim, const Tensor& index, const Operand& src);
Tensor scatter_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src);
/// Combined as "sum", "prod", "mean", "amax" or "amin", without what x has unless include_self.
Tensor scatter_reduce(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src,
                      std::string_view reduce, bool include_self = true);
Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index);
/// gather() with broadcasting of the other dimensions.
Tensor take_along_dim(const Tensor& x, const Tensor& indices, int64_t dim);
/// x with alpha * source[i] added to slice index[i] of a dimension; with source[i] in its place; or
/// combined with it as by scatter_reduce().
Tensor index_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source,
                 double alpha = 1);
Tensor index_copy(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source);
Tensor index_reduce(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source,
                    std::string_view reduce, bool include_self = true);
/// x as one row with source put (or added) at index; negative indices count from the end.
Tensor put(const Tensor& x, const Tensor& index, const Tensor& source, bool accumulate = false);
/// x with the elements of source in order where the mask holds.
Tensor masked_scatter(const Tensor& x, const Tensor& mask, const Tensor& source);
/// int64 [size, x.ndim()]: indices of the first elements that are not 0, then `fill_value`.
Tensor nonzero_static(const Tensor& x, int64_t size, int64_t fill_value = -1);
/// Parts of a dimension, given by lengths or by offsets (an undefined Tensor stands for the other),
/// combined as "sum", "mean", "prod", "max" or "min".
Tensor segment_reduce(const Tensor& x, std::string_view reduce, const Tensor& lengths,
                      const Tensor& offsets = {}, int64_t axis = 0,
                      std::optional<double> initial = {});
/// x[indices[0], indices[1], ..]: the elements (or slices) at places that one index tensor for each
/// leading dimension names; the indices broadcast, negative ones count from the end.
Tensor index(const Tensor& x, std::span<const Tensor> indices);
/// x with values put (or added) at x[indices[0], indices[1], ..].
Tensor index_put(const Tensor& x, std::span<const Tensor> indices, const Tensor& values,
                 bool accumulate = false);
Tensor argsort(const Tensor& x, int64_t dim = -1, bool descending = false);
Tensor sort(const Tensor& x, int64_t dim = -1, bool descending = false);
/// The k largest (or smallest) of a dimension in order, and their int64 positions.
std::pair<Tensor, Tensor> topk(const Tensor& x, int64_t k, int64_t dim = -1, bool largest = true);
/// The k-th smallest of a dimension, from 1 on, and its int64 position.
std::pair<Tensor, Tensor> kthvalue(const Tensor& x, int64_t k, int64_t dim = -1,
                                   bool keepdim = false);
/// The middle one of all in order, the smaller of two; of a dimension with its int64 position.
Tensor median(const Tensor& x);
std::pair<Tensor, Tensor> median(const Tensor& x, int64_t dim, bool keepdim = false);
Tensor nanmedian(const Tensor& x);
std::pair<Tensor, Tensor> nanmedian(const Tensor& x, int64_t dim, bool keepdim = false);
/// The most frequent one of a dimension, the smallest of several, and the position of its last.
std::pair<Tensor, Tensor> mode(const Tensor& x, int64_t dim = -1, bool keepdim = false);

/// Matrix product with PyTorch's rules for vectors, batches and broadcasting.
Tensor matmul(const Tensor& a, const Tensor& b);
/// [n, i, k] @ [n, k, j].
Tensor bmm(const Tensor& a, const Tensor& b);
/// [n] and [m] give [n, m].
Tensor outer(const Tensor& a, const Tensor& b);
/// Sum of products by labels: `ij,jk->ik`.
Tensor einsum(std::string_view equation, std::span<const Tensor> operands);

// Special functions, computed in float64 and rounded once
/// exp(x^2) * erfc(x).
Tensor erfcx(const Tensor& x);
/// The inverse of erf.
Tensor erfinv(const Tensor& x);
/// The inverse of the normal distribution function.
Tensor ndtri(const Tensor& x);
/// The logarithm of the normal distribution function.
Tensor log_ndtr(const Tensor& x);
/// log(|gamma(x)|).
Tensor lgamma(const Tensor& x);
/// The derivative of lgamma.
Tensor digamma(const Tensor& x);
/// The n-th derivative of digamma, n up to 20.
Tensor polygamma(const Tensor& x, int64_t n);
/// Hurwitz's zeta function: the sum over k >= 0 of (q + k)^-s.
Tensor zeta(const Operand& s, const Operand& q);
/// Modified Bessel functions of the first kind; those with an e are scaled by exp(-|x|).
Tensor i0(const Tensor& x);
Tensor i0e(const Tensor& x);
Tensor i1(const Tensor& x);
Tensor i1e(const Tensor& x);
/// Modified Bessel functions of the second kind, and those scaled by exp(x).
Tensor modified_bessel_k0(const Tensor& x);
Tensor modified_bessel_k1(const Tensor& x);
Tensor scaled_modified_bessel_k0(const Tensor& x);
Tensor scaled_modified_bessel_k1(const Tensor& x);
/// Bessel functions of the first and the second kind.
Tensor bessel_j0(const Tensor& x);
Tensor bessel_j1(const Tensor& x);
Tensor bessel_y0(const Tensor& x);
Tensor bessel_y1(const Tensor& x);
/// sin(x) / x.
Tensor spherical_bessel_j0(const Tensor& x);
/// Chebyshev's polynomials of the four kinds of degree n, and those on [0, 1].
Tensor chebyshev_polynomial_t(const Operand& x, const Operand& n);
Tensor chebyshev_polynomial_u(const Operand& x, const Operand& n);
Tensor chebyshev_polynomial_v(const Operand& x, const Operand& n);
Tensor chebyshev_polynomial_w(const Operand& x, const Operand& n);
Tensor shifted_chebyshev_polynomial_t(const Operand& x, const Operand& n);
Tensor shifted_chebyshev_polynomial_u(const Operand& x, const Operand& n);
Tensor shifted_chebyshev_polynomial_v(const Operand& x, const Operand& n);
Tensor shifted_chebyshev_polynomial_w(const Operand& x, const Operand& n);
/// Other orthogonal polynomials of degree n up to 128.
Tensor hermite_polynomial_h(const Operand& x, const Operand& n);
Tensor hermite_polynomial_he(const Operand& x, const Operand& n);
Tensor laguerre_polynomial_l(const Operand& x, const Operand& n);
Tensor legendre_polynomial_p(const Operand& x, const Operand& n);

// Signs, powers of two and whole numbers
/// True where x is negative, -0 too.
Tensor signbit(const Tensor& x);
/// pi where x is negative, else 0.
Tensor angle(const Tensor& x);
/// |x| with the sign of another, of zeros too.
Tensor copysign(const Operand& x, const Operand& sign);
/// The larger (smaller) one; where one is NaN, the other.
Tensor fmax(const Operand& a, const Operand& b);
Tensor fmin(const Operand& a, const Operand& b);
/// x * 2^exponent.
Tensor ldexp(const Tensor& x, const Tensor& exponent);
/// The fraction in [0.5, 1), with the sign, and the int32 exponent.
std::pair<Tensor, Tensor> frexp(const Tensor& x);
/// The next number after x towards another.
Tensor nextafter(const Tensor& x, const Tensor& towards);
Tensor gcd(const Operand& a, const Operand& b);
Tensor lcm(const Operand& a, const Operand& b);

// Searches, histograms and distances
/// int64 positions at which values go into the sorted last dimension; `right`: behind equal ones.
/// A sequence of one dimension serves all values, more have the values' leading dimensions.
Tensor searchsorted(const Tensor& sequence, const Tensor& values, bool right = false);
Tensor bucketize(const Tensor& x, const Tensor& boundaries, bool right = false);
/// Counts in equal bins from min to max; of all elements where these are equal.
Tensor histc(const Tensor& x, int64_t bins = 100, double min = 0, double max = 0);
/// Logarithms of running sums of exp(x).
Tensor logcumsumexp(const Tensor& x, int64_t dim);
/// The p-norm of a - b.
Tensor dist(const Tensor& a, const Tensor& b, double p = 2);
/// The p-norms of the differences of all rows: [.., m, d] and [.., n, d] give [.., m, n].
Tensor cdist(const Tensor& a, const Tensor& b, double p = 2);
/// The p-norms of the differences of each two rows i < j of [n, d]: [n (n - 1) / 2], row by row.
Tensor pdist(const Tensor& x, double p = 2);

// Linear algebra: matrices of up to 16 rows and columns in the last two dimensions;
// UnsupportedError for larger ones
/// L and U in one matrix, and the exchanged rows, int32 from 1.
std::pair<Tensor, Tensor> lu_factor(const Tensor& a);
/// The same, and the number of the first zero pivot, int32 from 1; 0 for none.
std::vector<Tensor> lu_factor_ex(const Tensor& a);
/// p, l and u with a = p @ l @ u.
std::vector<Tensor> lu(const Tensor& a);
/// The same of what lu_factor gives; empty ones for what is not unpacked.
std::vector<Tensor> lu_unpack(const Tensor& factors, const Tensor& pivots, bool unpack_data = true,
                              bool unpack_pivots = true);
/// x with a @ x = b, or x @ a = b, for a, or its transpose, as lu_factor gives it.
Tensor lu_solve(const Tensor& factors, const Tensor& pivots, const Tensor& b, bool left = true,
                bool adjoint = false);
/// x with a @ x = b, or x @ a = b; infinite or NaN where a is singular. b may be a vector.
Tensor solve(const Tensor& a, const Tensor& b, bool left = true);
Tensor inv(const Tensor& a);
Tensor det(const Tensor& a);
/// Sign and logarithm of the size of the determinant.
std::pair<Tensor, Tensor> slogdet(const Tensor& a);
/// x with a @ x = b, or x @ a = b, for triangular a.
Tensor solve_triangular(const Tensor& a, const Tensor& b, bool upper, bool left = true,
                        bool unitriangular = false);
/// Lower l with a = l @ l.T, or upper u with a = u.T @ u; NaN where a is not positive definite.
Tensor cholesky(const Tensor& a, bool upper = false);
/// The same, and the number of the first leading minor that is not positive, int32 from 1; or 0.
std::pair<Tensor, Tensor> cholesky_ex(const Tensor& a, bool upper = false);
/// x with l @ l.T @ x = b.
Tensor cholesky_solve(const Tensor& b, const Tensor& l, bool upper = false);
/// The inverse of l @ l.T.
Tensor cholesky_inverse(const Tensor& l, bool upper = false);
/// Orthogonal q and upper r with a = q @ r; the mode is "reduced", "complete" or "r".
std::pair<Tensor, Tensor> qr(const Tensor& a, std::string_view mode = "reduced");
/// r with the reflections below its diagonal, and their factors.
std::pair<Tensor, Tensor> geqrf(const Tensor& a);
/// The first columns of the product of such reflections.
Tensor householder_product(const Tensor& a, const Tensor& tau);
/// The product of such reflections, or its transpose, times another matrix, or that times it.
Tensor ormqr(const Tensor& a, const Tensor& tau, const Tensor& other, bool left = true,
             bool transpose = false);

// Fourier transforms over dimensions, of complex numbers as real and imaginary parts. Sums are as
// they are (normalization 0), over the root of the number of elements (1) or over it (2)
/// Of real numbers; of the last dimension one half where it is onesided.
std::pair<Tensor, Tensor> fft_r2c(const Tensor& x, const Dims& dim, int64_t normalization = 0,
                                  bool onesided = true);
/// Of complex numbers, or with the other sign.
std::pair<Tensor, Tensor> fft_c2c(const Tensor& real, const Tensor& imag, const Dims& dim,
                                  int64_t normalization = 0, bool forward = true);
/// Real numbers, last_dim_size of them along the last dimension, of that half of their spectrum.
Tensor fft_c2r(const Tensor& real, const Tensor& imag, const Dims& dim, int64_t normalization,
               int64_t last_dim_size);

}  // namespace coregrad
#pragma GCC visibility pop
