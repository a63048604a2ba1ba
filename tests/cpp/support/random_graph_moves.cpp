// The operations that a random graph is made of. Each keeps its operands inside the function's
// domain and its result of moderate size, and says whether every correct program computes the same
// bits.

#include "ops/operators.h"

#include "random_graph_maker.h"
#include <algorithm>

namespace coregrad::random_graphs {

void Maker::float_unary() {
  constexpr Op smooth[] = {Op::Neg,        Op::Exp,      Op::Exp2,  Op::Expm1, Op::Log,
                           Op::Log2,       Op::Log10,    Op::Log1p, Op::Sqrt,  Op::Rsqrt,
                           Op::Reciprocal, Op::Sin,      Op::Cos,   Op::Tan,   Op::Asin,
                           Op::Acos,       Op::Atan,     Op::Sinh,  Op::Cosh,  Op::Tanh,
                           Op::Sigmoid,    Op::Log1pExp, Op::Erf};
  constexpr Op jumps[] = {Op::Sign, Op::Floor, Op::Ceil, Op::Round, Op::Trunc};
  if (dice_.chance(12)) {
    const Value x = exact_float();
    if (x.exact) keep(ops::unary(g_, dice_.pick(jumps), x.id), true, x.bound + 1);
    return;
  }
  if (dice_.chance(4)) {
    const Value x = any_float();
    keep(ops::detach(g_, x.id), x.exact, x.bound);
    return;
  }
  if (dice_.chance(10)) {
    const Value x = kinked_float();
    keep(ops::unary(g_, Op::Abs, x.id), x.exact, x.bound);
    return;
  }
  const Op op = dice_.pick(smooth);
  const Value x = any_float();
  if (op == Op::Neg) {
    keep(ops::neg(g_, x.id), x.exact, x.bound);
    return;
  }
  // Every function stays well inside its domain, where it is neither steep nor large.
  const bool positive = op == Op::Log || op == Op::Log2 || op == Op::Log10 || op == Op::Log1p ||
                        op == Op::Sqrt || op == Op::Rsqrt || op == Op::Reciprocal;
  const bool free = op == Op::Sin || op == Op::Cos || op == Op::Atan || op == Op::Tanh ||
                    op == Op::Sigmoid || op == Op::Erf;
  NodeId in = tamed(x).id;
  if (positive)
    in = ops::add(g_, ops::mul(g_, in, in), real(in, 0.5));
  else if (!free)
    in = ops::mul(g_, ops::unary(g_, Op::Tanh, in), real(in, 0.9));
  keep(ops::unary(g_, op, in), false, 8);
}

void Maker::float_binary() {
  constexpr Op smooth[] = {Op::Add, Op::Sub, Op::Mul, Op::Add,
                           Op::Mul, Op::Div, Op::Pow, Op::Atan2};
  if (dice_.chance(20)) {
    const Value x = kinked_float(), y = partner(g_.dtype(x.id), shape(x.id), differentiates_);
    if (dice_.chance(80)) {
      const Op op = dice_.chance(50) ? Op::Max : Op::Min;
      keep(ops::binary(g_, op, x.id, y.id), x.exact && y.exact, std::max(x.bound, y.bound));
    } else if (x.exact && y.exact) {
      const NodeId divisor = ops::add(g_, ops::unary(g_, Op::Abs, y.id), real(y.id, 0.75));
      keep(ops::binary(g_, Op::Rem, x.id, divisor), false, x.bound);
    }
    return;
  }
  const Op op = dice_.pick(smooth);
  const Value x = tamed(any_float());
  if (dice_.chance(15)) {  // with a constant
    keep(ops::binary(g_, op == Op::Mul ? op : Op::Add, x.id, real(x.id, dice_.real(-2, 2))), false,
         2 * x.bound + 2);
    return;
  }
  const Value y = tamed(partner(g_.dtype(x.id), shape(x.id), false));
  if (op == Op::Add || op == Op::Sub || op == Op::Mul) {
    const bool multiplies = op == Op::Mul;
    keep(ops::binary(g_, op, x.id, y.id), false,
         multiplies ? x.bound * y.bound : x.bound + y.bound);
    return;
  }
  const NodeId safe = ops::add(g_, ops::mul(g_, y.id, y.id), real(y.id, 0.5));
  if (op == Op::Pow)
    keep(ops::binary(g_, op, safe, ops::unary(g_, Op::Tanh, x.id)), false, 70);
  else
    keep(ops::binary(g_, op, x.id, safe), false, 2 * x.bound + 4);
}

void Maker::integer_math() {
  if (dice_.chance(25)) {
    const Value a = any_bool(), b = partner(DType::Bool, shape(a.id), true);
    constexpr Op logic[] = {Op::And, Op::Or, Op::Xor, Op::Max, Op::Mul};
    const NodeId r = dice_.chance(20) ? ops::unary(g_, Op::Not, a.id)
                                      : ops::binary(g_, dice_.pick(logic), a.id, b.id);
    keep(r, true, 1);
    return;
  }
  const Value a = any_integer();
  if (dice_.chance(25)) {
    constexpr Op one[] = {Op::Neg, Op::Abs, Op::Sign, Op::Not};
    keep(ops::unary(g_, dice_.pick(one), a.id), true, 1);
    return;
  }
  constexpr Op two[] = {Op::Add, Op::Sub, Op::Mul, Op::Div, Op::Rem, Op::Max, Op::Min,
                        Op::And, Op::Or,  Op::Xor, Op::Shl, Op::Shr, Op::Pow};
  const Value b = partner(g_.dtype(a.id), shape(a.id), true);
  keep(ops::binary(g_, dice_.pick(two), a.id, b.id), true, 1);
}

void Maker::compare() {
  constexpr Op ops_[] = {Op::Eq, Op::Ne, Op::Lt, Op::Le};
  const Value a = dice_.chance(60) ? exact_float() : any_integer();
  if (!a.exact) return;
  const Value b = partner(g_.dtype(a.id), shape(a.id), true);
  keep(ops::compare(g_, dice_.pick(ops_), a.id, b.id), true, 1);
}

void Maker::select() {
  const Value a = any_value();
  const Value c = partner(DType::Bool, shape(a.id), true);
  const Value b = partner(g_.dtype(a.id), shape(a.id), false);
  keep(ops::select(g_, c.id, a.id, b.id), a.exact && b.exact, std::max(a.bound, b.bound));
}

void Maker::cast() {
  const DType to = any_dtype();
  const Value x = is_float(to) ? any_value() : dice_.chance(50) ? exact_float() : any_integer();
  if (!is_float(to)) {
    if (x.exact) keep(ops::cast(g_, x.id, to), true, 1);
    return;
  }
  if (is_integer(g_.dtype(x.id))) {
    // Wrapped integers can be anything; as floats they are kept small and whole.
    const NodeId small = ops::binary(g_, Op::Rem, x.id, whole(x.id, 9));
    keep(ops::cast(g_, small, to), true, 8);
    return;
  }
  const DType from = g_.dtype(x.id);
  const bool narrows = (from == DType::Float64 && to == DType::Float32) ||
                       (is_narrow(to) && from != to && from != DType::Bool);
  keep(ops::cast(g_, x.id, to), x.exact && !narrows, std::max(x.bound, 1.0));
}

void Maker::view() {
  const Value x = any_value();
  const Dims s = shape(x.id);
  const size_t rank = s.size();
  NodeId r = x.id;
  double bound = x.bound;
  const int64_t kind = dice_.between(0, 5);
  if (kind == 0) {
    r = ops::reshape(g_, r, other_shape(s));
  } else if (kind == 1 && rank > 1) {
    Dims order(rank);
    for (size_t d = 0; d < rank; ++d) order[d] = static_cast<int64_t>(d);
    for (size_t d = rank; d > 1; --d) std::swap(order[d - 1], order[dice_.below(d)]);
    r = ops::permute(g_, r, order);
  } else if (kind == 2 && product(s) * 3 <= options_.max_elements) {
    Dims to = s;
    for (int64_t& e : to)
      if (e == 1 && product(to) * 5 <= options_.max_elements && dice_.chance(60)) e = 5;
    if (dice_.chance(40) && product(to) * 3 <= options_.max_elements) to.insert(to.begin(), 3);
    r = ops::broadcast_to(g_, r, to);
  } else if (kind == 3 && rank > 0) {
    Dims starts, stops, steps;
    for (const int64_t e : s) {
      starts.push_back(dice_.chance(50) || e == 0 ? 0 : dice_.between(0, e - 1));
      const bool may_be_empty = has_empty_ || e == 0;
      stops.push_back(
          dice_.chance(50) ? e : dice_.between(std::min(e, starts.back() + !may_be_empty), e));
      steps.push_back(dice_.chance(70) ? 1 : dice_.between(2, 3));
    }
    r = ops::slice(g_, r, starts, stops, steps);
  } else if (kind == 4 && rank > 0) {
    Dims dims;
    for (size_t d = 0; d < rank; ++d)
      if (dice_.chance(50)) dims.push_back(static_cast<int64_t>(d));
    r = ops::flip(g_, r, dims);
  } else if (rank > 0 && product(s) * 4 <= options_.max_elements) {
    Dims low(rank, 0), high(rank, 0), interior(rank, 0);
    const size_t d = dice_.below(rank);
    low[d] = dice_.between(0, 2);
    high[d] = dice_.between(0, 2);
    if (s[d] > 1 && dice_.chance(30)) interior[d] = dice_.between(1, 2);
    const double fill = dice_.chance(60) ? 0 : 1;
    r = ops::pad(g_, r, low, high, interior, Scalar::of(g_.dtype(r), fill));
    bound = std::max(bound, 1.0);
  }
  keep(r, x.exact, bound);
}

Dims Maker::other_shape(const Dims& s) {
  Dims to;
  int64_t rest = product(s);
  if (rest == 0) return Dims{0, 2};
  for (const int64_t f : {2, 3, 4, 5, 7, 8})
    if (rest % f == 0 && to.size() < 4 && dice_.chance(40)) {
      to.push_back(f);
      rest /= f;
    }
  if (rest != 1 || dice_.chance(30)) to.push_back(rest);
  if (to.size() > 1) std::swap(to[dice_.below(to.size())], to[dice_.below(to.size())]);
  return to;
}

void Maker::window() {
  const Value x = any_value();
  const Dims s = shape(x.id);
  std::vector<ops::WindowDim> windows;
  int64_t grown = product(s);
  for (size_t d = 0; d < s.size() && windows.size() < 2; ++d) {
    ops::WindowDim w{static_cast<int64_t>(d), dice_.between(1, 3), dice_.between(1, 3),
                     dice_.between(1, 2)};
    if (s[d] < (w.size - 1) * w.dilation + 1 || grown * w.size > options_.max_elements) continue;
    if (!dice_.chance(70)) continue;
    grown *= w.size;
    windows.push_back(w);
  }
  if (windows.empty()) return;
  const NodeId r = ops::window(g_, x.id, windows);
  keep(r, x.exact, x.bound);
  if (!is_float(g_.dtype(x.id)) || g_.numel(r) == 0 || !dice_.chance(60)) return;
  // A pool of the windows.
  Dims dims;
  for (size_t w = 0; w < windows.size(); ++w) dims.push_back(static_cast<int64_t>(s.size() + w));
  const bool may_jump = x.exact || !differentiates_;
  const Op op = may_jump && dice_.chance(60) ? Op::ReduceMax : Op::Sum;
  keep(ops::reduce(g_, op, r, dims), op == Op::ReduceMax && x.exact,
       op == Op::Sum ? x.bound * 9 : x.bound);
}

void Maker::concat() {
  const Value a = any_value();
  const Dims s = shape(a.id);
  if (s.empty() || product(s) * 3 > options_.max_elements) return;
  const size_t dim = dice_.below(s.size());
  std::vector<NodeId> parts = {a.id};
  bool exact = a.exact;
  double bound = a.bound;
  for (int64_t i = dice_.between(1, 2); i > 0; --i) {
    Dims to = s;
    to[dim] = dice_.between(has_empty_ ? 0 : 1, 4);
    if (product(to) * 3 > options_.max_elements) to[dim] = 1;
    const Value b =
        find(g_.dtype(a.id), [&](const Value& v) { return g_.dtype(v.id) == g_.dtype(a.id); });
    if (g_.dtype(b.id) != g_.dtype(a.id)) continue;
    parts.insert(dice_.chance(50) ? parts.begin() : parts.end(), resized(b.id, to));
    exact = exact && b.exact;
    bound = std::max(bound, b.bound);
  }
  keep(ops::concat(g_, parts, static_cast<int64_t>(dim)), exact, bound);
}

Dims Maker::some_dims(size_t rank) {
  Dims dims;
  for (size_t d = 0; d < rank; ++d)
    if (dice_.chance(45)) dims.push_back(static_cast<int64_t>(d));
  if (dims.empty() && rank > 0) dims.push_back(static_cast<int64_t>(dice_.below(rank)));
  return dims;
}

void Maker::reduce() {
  const int64_t kind = dice_.between(0, 9);
  const Value x = dice_.chance(70)   ? (kind >= 6 ? kinked_float() : any_float())
                  : dice_.chance(60) ? any_integer()
                                     : any_bool();
  const Dims s = shape(x.id), dims = some_dims(s.size());
  if (s.empty()) return;
  int64_t count = 1;
  for (const int64_t d : dims) count *= s[static_cast<size_t>(d)];
  const bool keepdim = dice_.chance(40), floating = is_float(g_.dtype(x.id));
  if (kind >= 6) {
    if (count == 0 && product(s) == 0) return;
    const Op op = dice_.chance(50) ? Op::ReduceMax : Op::ReduceMin;
    keep(ops::reduce(g_, op, x.id, dims, keepdim), x.exact, x.bound);
  } else if (kind == 5 && count <= 64) {
    // Factors around one, so that the product neither vanishes nor explodes.
    NodeId in = x.id;
    if (floating)
      in = ops::add(g_, ops::mul(g_, ops::unary(g_, Op::Tanh, in), real(in, 0.3)), real(in, 1));
    const NodeId r = ops::reduce(g_, Op::Prod, in, dims, keepdim);
    keep(floating ? ops::unary(g_, Op::Tanh, r) : r, false, 1);
  } else {
    NodeId r = ops::reduce(g_, Op::Sum, floating ? tamed(x).id : x.id, dims, keepdim);
    if (floating && dice_.chance(70))
      r = ops::mul(g_, r, real(r, 1.0 / static_cast<double>(std::max<int64_t>(count, 1))));
    keep(r, false, 8.0 * static_cast<double>(std::max<int64_t>(count, 1)));
  }
}

void Maker::positions() {
  const Value x = dice_.chance(70) ? exact_float() : any_integer();
  const Dims s = shape(x.id);
  if (s.empty() || product(s) == 0 || !x.exact) return;
  const auto dim = static_cast<int64_t>(dice_.below(s.size()));
  const int64_t kind = dice_.between(0, 2);
  const NodeId r = kind == 0   ? ops::argsort(g_, x.id, dim, dice_.chance(50))
                   : kind == 1 ? ops::reduce(g_, Op::ArgMax, x.id, Dims{dim}, dice_.chance(50))
                               : ops::reduce(g_, Op::ArgMin, x.id, Dims{dim}, dice_.chance(50));
  keep(r, true, 1);
  if (kind == 0) keep(ops::gather(g_, x.id, dim, r), true, x.bound);  // sorted
}

Value Maker::contract(NodeId a, NodeId b, const ContractSpec& spec, int64_t summed, double bound) {
  NodeId r = ops::contract(g_, a, b, spec);
  const bool floating = is_float(g_.dtype(a));
  if (floating && dice_.chance(60))
    r = ops::mul(g_, r, real(r, 1.0 / static_cast<double>(std::max<int64_t>(summed, 1))));
  else
    bound *= static_cast<double>(std::max<int64_t>(summed, 1));
  return keep(r, false, bound);
}

void Maker::matmul() {
  const Value x = dice_.chance(85) ? tamed(any_float()) : any_integer();
  const Dims s = shape(x.id);
  if (s.size() < 2) return;
  const size_t rank = s.size();
  const int64_t m = s[rank - 2], k = s[rank - 1], n = dice_.between(1, 12);
  const bool batched = dice_.chance(40), transposed = dice_.chance(40);
  int64_t batch = 1;
  for (size_t d = 0; d + 2 < rank; ++d) batch *= s[d];
  if (batch * m * n > options_.max_elements || batch * k * n > options_.max_elements) return;
  ContractSpec spec;
  const auto row = static_cast<int64_t>(rank) - 2, inner = row + 1, column = row + 2;
  spec.extents.assign(s.begin(), s.end());
  spec.extents.push_back(n);
  Dims b_shape;
  for (int64_t d = 0; d < row; ++d) {
    spec.lhs.push_back(DimMap::label(d));
    spec.out.push_back(d);
    if (!batched) continue;
    spec.rhs.push_back(DimMap::label(d));
    b_shape.push_back(s[static_cast<size_t>(d)]);
  }
  spec.lhs.push_back(DimMap::label(row));
  spec.lhs.push_back(DimMap::label(inner));
  spec.rhs.push_back(DimMap::label(transposed ? column : inner));
  spec.rhs.push_back(DimMap::label(transposed ? inner : column));
  b_shape.push_back(transposed ? n : k);
  b_shape.push_back(transposed ? k : n);
  spec.out.push_back(row);
  spec.out.push_back(column);
  const Value y =
      tamed(find(g_.dtype(x.id), [&](const Value& v) { return g_.dtype(v.id) == g_.dtype(x.id); }));
  if (g_.dtype(y.id) != g_.dtype(x.id)) return;
  contract(x.id, resized(y.id, b_shape), spec, k, x.bound * y.bound);
}

/// One or two windowed dimensions, forward or transposed: x[n, c, h..], w[o, c, k..].
void Maker::convolution() {
  const Value x = tamed(any_float()), w = tamed(any_float());
  if (g_.dtype(x.id) != g_.dtype(w.id)) return;
  const size_t windows = dice_.chance(50) ? 1 : 2;
  const int64_t n = dice_.between(1, 2), c = dice_.between(1, 4), o = dice_.between(1, 5);
  ContractSpec spec;
  spec.extents = {n, o, c};
  spec.lhs = {DimMap::label(0), DimMap::label(2)};
  spec.rhs = {DimMap::label(1), DimMap::label(2)};
  spec.out = {0, 1};
  Dims x_shape = {n, c}, w_shape = {o, c};
  int64_t summed = c;
  for (size_t i = 0; i < windows; ++i) {
    const int64_t in = dice_.between(3, 9), k = dice_.between(1, 3), stride = dice_.between(1, 2),
                  dilation = dice_.between(1, 2), padding = dice_.between(0, 2);
    const int64_t reach = (k - 1) * dilation + 1;
    if (in + 2 * padding < reach) return;
    const auto place = static_cast<int64_t>(spec.extents.size()), offset = place + 1;
    const bool transposed = dice_.chance(30);
    spec.extents.push_back(transposed ? (in - 1) * stride + reach
                                      : (in + 2 * padding - reach) / stride + 1);
    spec.extents.push_back(k);
    if (transposed)
      spec.lhs.push_back({place, offset, 1, -dilation, 0, stride});
    else
      spec.lhs.push_back({place, offset, stride, dilation, -padding, 1});
    spec.rhs.push_back(DimMap::label(offset));
    spec.out.push_back(place);
    x_shape.push_back(in);
    w_shape.push_back(k);
    summed *= k;
  }
  contract(resized(x.id, x_shape), resized(w.id, w_shape), spec, summed, x.bound * w.bound);
}

/// An index array of the given shape with values in [0, extent).
NodeId Maker::indices(const Dims& s, int64_t extent) {
  const Value v = any_integer();
  NodeId raw = ops::cast(g_, resized(v.id, s), DType::Int64);
  if (dice_.chance(30)) {
    const NodeId seed = ops::literal(g_, Scalar::of_int(DType::Int64, dice_.between(0, 1000)));
    raw = ops::random(g_, seed, DType::Int64, s, dice_.between(0, 9));
  } else if (!s.empty() && dice_.chance(15)) {
    raw = ops::broadcast_to(g_, ops::iota(g_, DType::Int64, s.back()), s);
  }
  return ops::unary(g_, Op::Abs, ops::binary(g_, Op::Rem, raw, whole(raw, extent)));
}

Dims Maker::index_shape(const Dims& s, size_t dim) {
  Dims to = s;
  for (size_t d = 0; d < to.size(); ++d)
    if (d == dim)
      to[d] = dice_.between(1, 6);
    else if (to[d] > 1 && dice_.chance(25))
      to[d] -= 1;
  return to;
}

void Maker::gather() {
  const Value x = any_value();
  const Dims s = shape(x.id);
  if (s.empty() || product(s) == 0) return;
  const size_t dim = dice_.below(s.size());
  const Dims to = index_shape(s, dim);
  if (product(to) > options_.max_elements) return;
  keep(ops::gather(g_, x.id, static_cast<int64_t>(dim), indices(to, s[dim])), x.exact, x.bound);
}

void Maker::scatter() {
  const Value x = dice_.chance(70) ? any_float() : any_integer();
  const Dims s = shape(x.id);
  if (s.empty() || product(s) == 0) return;
  const size_t dim = dice_.below(s.size());
  const Dims to = index_shape(s, dim);
  const Value y =
      find(g_.dtype(x.id), [&](const Value& v) { return g_.dtype(v.id) == g_.dtype(x.id); });
  if (g_.dtype(y.id) != g_.dtype(x.id) || product(to) > options_.max_elements) return;
  constexpr ScatterMode modes[] = {ScatterMode::Set, ScatterMode::Add, ScatterMode::Mul,
                                   ScatterMode::Max, ScatterMode::Min};
  const ScatterMode mode = modes[dice_.below(differentiates_ ? 2 : 5)];
  const Value a = tamed(x), b = tamed(y);
  const bool adds = mode == ScatterMode::Add || mode == ScatterMode::Mul;
  keep(ops::scatter(g_, a.id, static_cast<int64_t>(dim), indices(to, s[dim]), resized(b.id, to),
                    mode),
       a.exact && b.exact && !adds, adds ? 1e6 : std::max(a.bound, b.bound));
}

void Maker::scan() {
  const Value x = dice_.chance(70) ? tamed(any_float()) : any_integer();
  const Dims s = shape(x.id);
  if (s.empty()) return;
  const size_t dim = dice_.below(s.size());
  const bool multiplies = dice_.chance(40) && s[dim] <= 33, floating = is_float(g_.dtype(x.id));
  NodeId in = x.id;
  if (multiplies && floating)
    in = ops::add(g_, ops::mul(g_, ops::unary(g_, Op::Tanh, in), real(in, 0.2)), real(in, 1));
  const NodeId r =
      ops::scan(g_, multiplies ? Op::CumProd : Op::CumSum, in, static_cast<int64_t>(dim));
  keep(r, false, multiplies ? 500 : x.bound * static_cast<double>(s[dim] + 1));
}

void Maker::random() {
  const NodeId seed = ops::literal(g_, Scalar::of_int(DType::Int64, dice_.between(-5, 1000000)));
  const DType dtype = dice_.chance(70)   ? float_dtype()
                      : dice_.chance(50) ? DType::Int32
                                         : DType::Int64;
  keep(ops::random(g_, seed, dtype, any_shape(), dice_.between(0, 99)), true, 1);
}

void Maker::softmax() {
  const Value x = tamed(kinked_float());
  const Dims s = shape(x.id);
  if (s.empty() || product(s) == 0 || (differentiates_ && !x.exact)) return;
  const Dims last = {static_cast<int64_t>(s.size()) - 1};
  const NodeId top = ops::reduce(g_, Op::ReduceMax, x.id, last, true);
  const NodeId e = ops::exp(g_, ops::sub(g_, x.id, top));
  keep(ops::div(g_, e, ops::reduce(g_, Op::Sum, e, last, true)), false, 1);
}

}  // namespace coregrad::random_graphs
