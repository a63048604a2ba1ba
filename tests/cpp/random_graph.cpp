// Map: Dice gives numbers; Maker holds the values made so far and draws one operation after another
// (the table kMoves lists the kinds); the twin and the comparison are in random_graph_check.cpp.

#include "random_graph.h"

#include "base/error.h"
#include "grad/gradient.h"
#include "ir/print.h"
#include "ops/primitives.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

namespace coregrad {
namespace {

using Dims = std::vector<int64_t>;

class Dice {
 public:
  explicit Dice(uint64_t seed) : engine_(seed) {}
  /// In [low, high]; the slight bias of the remainder does not matter here.
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(engine_() % static_cast<uint64_t>(high - low + 1));
  }
  size_t below(size_t n) { return static_cast<size_t>(engine_() % n); }
  bool chance(int percent) { return between(1, 100) <= percent; }
  double real(double low, double high) {
    return low + (high - low) * static_cast<double>(engine_() >> 11) * 0x1p-53;
  }
  template <class T, size_t N>
  T pick(const T (&choices)[N]) {
    return choices[below(N)];
  }

 private:
  std::mt19937_64 engine_;
};

struct Value {
  NodeId id;
  /// Every correct program computes the same bits: not rounded since the inputs.
  bool exact;
  /// Bound of the magnitude of floating values; products and sums keep it small.
  double bound;
};

int64_t product(Shape shape) {
  int64_t n = 1;
  for (const int64_t e : shape) n *= e;
  return n;
}

class Maker {
 public:
  Maker(RandomGraph& out, const RandomGraphOptions& options)
      : out_(out), g_(out.graph), options_(options), dice_(out.seed * 2 + 1) {
    differentiates_ = options.with_gradients && dice_.chance(50);
    has_empty_ = dice_.chance(6);
    constexpr int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33};
    for (int64_t& e : extents_) e = dice_.pick(sizes);
  }

  void run() {
    for (int64_t i = dice_.between(2, 4); i > 0; --i) fresh(any_dtype(), any_shape());
    fresh(dice_.chance(75) ? DType::Float32 : DType::Float64, any_shape());
    const int64_t steps = dice_.between(options_.min_steps, options_.max_steps);
    for (int64_t i = 0; i < steps; ++i) move();
    choose_outputs();
    if (differentiates_) add_gradients();
  }

 private:
  using Move = void (Maker::*)();
  struct Weighted {
    int weight;
    Move move;
  };

  void move() {
    static constexpr Weighted kMoves[] = {
        {22, &Maker::float_unary}, {18, &Maker::float_binary}, {10, &Maker::integer_math},
        {6, &Maker::compare},      {6, &Maker::select},        {6, &Maker::cast},
        {18, &Maker::view},        {3, &Maker::window},        {5, &Maker::concat},
        {10, &Maker::reduce},      {4, &Maker::positions},     {7, &Maker::matmul},
        {5, &Maker::convolution},  {4, &Maker::gather},        {4, &Maker::scatter},
        {4, &Maker::scan},         {3, &Maker::random},        {2, &Maker::softmax},
    };
    int total = 0;
    for (const Weighted& w : kMoves) total += w.weight;
    auto roll = static_cast<int>(dice_.below(static_cast<size_t>(total)));
    for (const Weighted& w : kMoves)
      if ((roll -= w.weight) < 0) return (this->*w.move)();
  }

  // ---- Shapes, inputs and choices

  DType any_dtype() {
    constexpr DType dtypes[] = {DType::Bool,    DType::Int32,   DType::Int64,  DType::Float32,
                                DType::Float32, DType::Float32, DType::Float64};
    return dice_.pick(dtypes);
  }

  Dims any_shape() {
    Dims shape(dice_.below(5));
    for (int64_t& e : shape) e = dice_.chance(12) ? 1 : dice_.pick(extents_);
    if (has_empty_ && !shape.empty() && dice_.chance(20)) shape[dice_.below(shape.size())] = 0;
    while (product(shape) > options_.max_elements)
      *std::max_element(shape.begin(), shape.end()) = 2;
    return shape;
  }

  Value keep(NodeId id, bool exact, double bound) {
    const Value value{id, exact || !is_float(g_.dtype(id)), bound};
    values_.push_back(value);
    return value;
  }

  /// A new input: contiguous, with gaps, transposed or repeating.
  Value fresh(DType dtype, Dims shape) {
    Dims strides(shape.size(), 0);
    std::vector<size_t> order(shape.size());
    for (size_t d = 0; d < order.size(); ++d) order[d] = d;
    if (!order.empty() && dice_.chance(20))
      std::swap(order[dice_.below(order.size())], order.back());
    int64_t step = dice_.chance(10) ? 2 : 1;
    for (size_t k = order.size(); k-- > 0;) {
      if (dice_.chance(7)) continue;  // stride 0
      strides[order[k]] = step;
      step *= std::max<int64_t>(shape[order[k]], 1);
      if (dice_.chance(10)) step += 3;
    }
    int64_t span = 1;
    for (size_t d = 0; d < shape.size(); ++d)
      span += strides[d] * std::max<int64_t>(shape[d] - 1, 0);
    const auto number = static_cast<int64_t>(out_.storage.size());
    std::vector<std::byte>& bytes =
        out_.storage.emplace_back(static_cast<size_t>(span) * static_cast<size_t>(size_of(dtype)));
    for (int64_t i = 0; i < span; ++i) write(bytes, i, dtype);
    return keep(ops::input(g_, number, dtype, shape, strides), true, 2);
  }

  void write(std::vector<std::byte>& bytes, int64_t i, DType dtype) {
    std::byte* const at = bytes.data() + i * size_of(dtype);
    const auto put = [&](auto value) { std::memcpy(at, &value, sizeof value); };
    const int64_t whole = dice_.between(-20, 20);
    // Some exact halves, so that ties of rounding and of extremes happen.
    const double real =
        dice_.chance(10) ? static_cast<double>(dice_.between(-4, 4)) / 2 : dice_.real(-2, 2);
    switch (dtype) {
      case DType::Bool:
        return put(static_cast<uint8_t>(whole > 0));
      case DType::Int32:
        return put(static_cast<int32_t>(whole));
      case DType::Int64:
        return put(whole);
      case DType::Float32:
        return put(static_cast<float>(real));
      case DType::Float64:
        return put(real);
    }
  }

  /// A value for which the condition holds, the newer the likelier; a fresh input if there is none.
  template <class F>
  Value find(DType otherwise, F&& condition) {
    std::vector<Value> good;
    for (const Value& v : values_)
      if (condition(v)) good.push_back(v);
    if (good.empty() || dice_.chance(4)) return fresh(otherwise, any_shape());
    const size_t a = dice_.below(good.size()), b = dice_.below(good.size());
    return good[std::max(a, b)];
  }

  DType float_dtype() { return dice_.chance(75) ? DType::Float32 : DType::Float64; }
  Value any_float() {
    return find(float_dtype(), [&](const Value& v) { return is_float(g_.dtype(v.id)); });
  }
  Value any_integer() {
    return find(dice_.chance(50) ? DType::Int32 : DType::Int64,
                [&](const Value& v) { return is_integer(g_.dtype(v.id)); });
  }
  Value any_bool() {
    return find(DType::Bool, [&](const Value& v) { return g_.dtype(v.id) == DType::Bool; });
  }
  Value any_value() {
    return find(DType::Float32, [](const Value&) { return true; });
  }
  /// A float that jumps may be applied to.
  Value exact_float() {
    return find(float_dtype(), [&](const Value& v) { return v.exact && is_float(g_.dtype(v.id)); });
  }
  /// A float for operations whose derivative jumps.
  Value kinked_float() { return differentiates_ ? exact_float() : any_float(); }

  Value tamed(Value x) {
    return x.bound <= 8 || !is_float(g_.dtype(x.id))
               ? x
               : Value{ops::unary(g_, Op::Tanh, x.id), false, 1};
  }
  NodeId real(NodeId like, double v) { return ops::literal(g_, g_.dtype(like), v); }
  NodeId whole(NodeId like, int64_t v) {
    return ops::literal(g_, Scalar::of_int(g_.dtype(like), v));
  }
  Dims shape(NodeId x) const { return {g_.shape(x).begin(), g_.shape(x).end()}; }

  /// x cut and repeated to another shape, by views alone.
  NodeId resized(NodeId x, const Dims& to) {
    const int64_t have = g_.numel(x), want = product(to);
    if (have == 0 && want > 0) return ops::cast(g_, fresh(g_.dtype(x), to).id, g_.dtype(x));
    NodeId flat = ops::reshape(g_, x, Dims{have});
    if (have < want) {
      const int64_t times = (want + have - 1) / have;
      flat = ops::reshape(g_, ops::broadcast_to(g_, flat, Dims{times, have}), Dims{times * have});
    }
    return ops::reshape(g_, ops::narrow(g_, flat, 0, 0, want), to);
  }

  /// Something of the dtype whose shape broadcasts with `shape`.
  Value partner(DType dtype, const Dims& like, bool exact) {
    const Value v =
        find(dtype, [&](const Value& c) { return g_.dtype(c.id) == dtype && (!exact || c.exact); });
    if (exact && !v.exact) return fresh(dtype, like);
    if (dice_.chance(30) && shape(v.id) == like) return v;
    Dims to = like;
    const size_t dropped = dice_.chance(40) ? dice_.below(to.size() + 1) : 0;
    to.erase(to.begin(), to.begin() + static_cast<std::ptrdiff_t>(dropped));
    for (int64_t& e : to)
      if (dice_.chance(15)) e = 1;
    return {resized(v.id, to), v.exact, v.bound};
  }

  // ---- Moves

  void float_unary() {
    constexpr Op smooth[] = {Op::Neg,   Op::Exp,   Op::Exp2, Op::Expm1, Op::Log,        Op::Log2,
                             Op::Log10, Op::Log1p, Op::Sqrt, Op::Rsqrt, Op::Reciprocal, Op::Sin,
                             Op::Cos,   Op::Tan,   Op::Asin, Op::Acos,  Op::Atan,       Op::Sinh,
                             Op::Cosh,  Op::Tanh,  Op::Erf};
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
    const bool free =
        op == Op::Sin || op == Op::Cos || op == Op::Atan || op == Op::Tanh || op == Op::Erf;
    NodeId in = tamed(x).id;
    if (positive)
      in = ops::add(g_, ops::mul(g_, in, in), real(in, 0.5));
    else if (!free)
      in = ops::mul(g_, ops::unary(g_, Op::Tanh, in), real(in, 0.9));
    keep(ops::unary(g_, op, in), false, 8);
  }

  void float_binary() {
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
      keep(ops::binary(g_, op == Op::Mul ? op : Op::Add, x.id, real(x.id, dice_.real(-2, 2))),
           false, 2 * x.bound + 2);
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

  void integer_math() {
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

  void compare() {
    constexpr Op ops_[] = {Op::Eq, Op::Ne, Op::Lt, Op::Le};
    const Value a = dice_.chance(60) ? exact_float() : any_integer();
    if (!a.exact) return;
    const Value b = partner(g_.dtype(a.id), shape(a.id), true);
    keep(ops::compare(g_, dice_.pick(ops_), a.id, b.id), true, 1);
  }

  void select() {
    const Value a = any_value();
    const Value c = partner(DType::Bool, shape(a.id), true);
    const Value b = partner(g_.dtype(a.id), shape(a.id), false);
    keep(ops::select(g_, c.id, a.id, b.id), a.exact && b.exact, std::max(a.bound, b.bound));
  }

  void cast() {
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
    const bool narrows = g_.dtype(x.id) == DType::Float64 && to == DType::Float32;
    keep(ops::cast(g_, x.id, to), x.exact && !narrows, std::max(x.bound, 1.0));
  }

  void view() {
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

  Dims other_shape(const Dims& s) {
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

  void window() {
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

  void concat() {
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

  Dims some_dims(size_t rank) {
    Dims dims;
    for (size_t d = 0; d < rank; ++d)
      if (dice_.chance(45)) dims.push_back(static_cast<int64_t>(d));
    if (dims.empty() && rank > 0) dims.push_back(static_cast<int64_t>(dice_.below(rank)));
    return dims;
  }

  void reduce() {
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

  void positions() {
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

  Value contract(NodeId a, NodeId b, const ContractSpec& spec, int64_t summed, double bound) {
    NodeId r = ops::contract(g_, a, b, spec);
    const bool floating = is_float(g_.dtype(a));
    if (floating && dice_.chance(60))
      r = ops::mul(g_, r, real(r, 1.0 / static_cast<double>(std::max<int64_t>(summed, 1))));
    else
      bound *= static_cast<double>(std::max<int64_t>(summed, 1));
    return keep(r, false, bound);
  }

  void matmul() {
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
    spec.extents = s;
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
    const Value y = tamed(
        find(g_.dtype(x.id), [&](const Value& v) { return g_.dtype(v.id) == g_.dtype(x.id); }));
    if (g_.dtype(y.id) != g_.dtype(x.id)) return;
    contract(x.id, resized(y.id, b_shape), spec, k, x.bound * y.bound);
  }

  /// One or two windowed dimensions, forward or transposed: x[n, c, h..], w[o, c, k..].
  void convolution() {
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
  NodeId indices(const Dims& s, int64_t extent) {
    const Value v = any_integer();
    NodeId raw = ops::cast(g_, resized(v.id, s), DType::Int64);
    if (dice_.chance(30)) {
      const NodeId seed = ops::literal(g_, Scalar::of_int(DType::Int64, dice_.between(0, 1000)));
      raw = ops::random(g_, seed, DType::Int64, s, dice_.between(0, 9));
    }
    return ops::unary(g_, Op::Abs, ops::binary(g_, Op::Rem, raw, whole(raw, extent)));
  }

  Dims index_shape(const Dims& s, size_t dim) {
    Dims to = s;
    for (size_t d = 0; d < to.size(); ++d)
      if (d == dim)
        to[d] = dice_.between(1, 6);
      else if (to[d] > 1 && dice_.chance(25))
        to[d] -= 1;
    return to;
  }

  void gather() {
    const Value x = any_value();
    const Dims s = shape(x.id);
    if (s.empty() || product(s) == 0) return;
    const size_t dim = dice_.below(s.size());
    const Dims to = index_shape(s, dim);
    if (product(to) > options_.max_elements) return;
    keep(ops::gather(g_, x.id, static_cast<int64_t>(dim), indices(to, s[dim])), x.exact, x.bound);
  }

  void scatter() {
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

  void scan() {
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

  void random() {
    const NodeId seed = ops::literal(g_, Scalar::of_int(DType::Int64, dice_.between(-5, 1000000)));
    const DType dtype = dice_.chance(70)   ? float_dtype()
                        : dice_.chance(50) ? DType::Int32
                                           : DType::Int64;
    keep(ops::random(g_, seed, dtype, any_shape(), dice_.between(0, 99)), true, 1);
  }

  void softmax() {
    const Value x = tamed(kinked_float());
    const Dims s = shape(x.id);
    if (s.empty() || product(s) == 0 || (differentiates_ && !x.exact)) return;
    const Dims last = {static_cast<int64_t>(s.size()) - 1};
    const NodeId top = ops::reduce(g_, Op::ReduceMax, x.id, last, true);
    const NodeId e = ops::exp(g_, ops::sub(g_, x.id, top));
    keep(ops::div(g_, e, ops::reduce(g_, Op::Sum, e, last, true)), false, 1);
  }

  // ---- Ends

  void choose_outputs() {
    const std::vector<uint32_t> uses = all_uses();
    // What nobody used is an output, newest first, and some of the others too.
    for (size_t i = values_.size(); i-- > 0 && out_.outputs.size() < 5;)
      if ((uses[values_[i].id.value] == 0 && g_[values_[i].id].op != Op::Input) || dice_.chance(4))
        if (std::find(out_.outputs.begin(), out_.outputs.end(), values_[i].id) ==
            out_.outputs.end())
          out_.outputs.push_back(values_[i].id);
    if (out_.outputs.empty()) out_.outputs.push_back(values_.back().id);
  }

  std::vector<uint32_t> all_uses() const {
    std::vector<uint32_t> uses(g_.size(), 0);
    for (uint32_t i = 0; i < g_.size(); ++i)
      for (const NodeId o : g_.operands({i})) ++uses[o.value];
    return uses;
  }

  void add_gradients() {
    std::vector<NodeId> floating, targets;
    for (const NodeId o : out_.outputs)
      if (is_float(g_.dtype(o))) floating.push_back(o);
    if (floating.empty()) return;
    const NodeId output = floating[dice_.below(floating.size())];
    for (const Value& v : values_)
      if (g_[v.id].op == Op::Input && is_float(g_.dtype(v.id)) && targets.size() < 4)
        targets.push_back(v.id);
    const NodeId seed =
        ops::full(g_, g_.shape(output), Scalar::of_float(g_.dtype(output), dice_.real(0.1, 1)));
    for (const NodeId d : gradients(g_, {&output, 1}, {&seed, 1}, targets, Unreachable::Invalid))
      if (d.is_valid()) out_.outputs.push_back(d);
  }

  RandomGraph& out_;
  Graph& g_;
  RandomGraphOptions options_;
  Dice dice_;
  bool differentiates_ = false, has_empty_ = false;
  int64_t extents_[3] = {};
  std::vector<Value> values_;
};

}  // namespace

RandomGraph make_random_graph(uint64_t seed, const RandomGraphOptions& options) {
  RandomGraph random;
  random.seed = seed;
  Maker(random, options).run();
  return random;
}

std::vector<InputView> RandomGraph::inputs() const {
  std::vector<InputView> views;
  for (const std::vector<std::byte>& bytes : storage) views.push_back({bytes.data()});
  return views;
}

int64_t RandomGraph::size() const {
  const std::vector<bool> live = mark_live(graph, outputs);
  return std::count(live.begin(), live.end(), true);
}

std::string RandomGraph::to_text() const {
  return fmt::format("random graph, seed {}\n{}", seed, coregrad::to_text(graph, outputs));
}

}  // namespace coregrad
