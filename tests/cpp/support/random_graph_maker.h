#pragma once
// Internal to the random graphs: the values made so far, and what draws one operation after
// another.

#include "base/error.h"
#include "ops/primitives.h"

#include "random_graph.h"
#include <algorithm>
#include <cstring>
#include <random>

namespace coregrad::random_graphs {

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

inline int64_t product(Shape shape) {
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

  void run();

 private:
  using Move = void (Maker::*)();
  struct Weighted {
    int weight;
    Move move;
  };

  void move();

  // ---- Shapes, inputs and choices

  DType any_dtype() {
    constexpr DType dtypes[] = {DType::Bool,    DType::Int32,   DType::Int64,
                                DType::Float32, DType::Float32, DType::Float32,
                                DType::Float64, DType::Float16, DType::BFloat16};
    return draws_small(10) ? small_integer() : dice_.pick(dtypes);
  }
  bool draws_small(int percent) { return options_.small_integers && dice_.chance(percent); }
  DType small_integer() {
    constexpr DType dtypes[] = {DType::Int8, DType::UInt8, DType::Int16, DType::UInt16,
                                DType::UInt32};
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
      case DType::Float16:
        return put(Float16(static_cast<float>(real)).bits);
      case DType::BFloat16:
        return put(BFloat16(static_cast<float>(real)).bits);
      case DType::Float32:
        return put(static_cast<float>(real));
      case DType::Float64:
        return put(real);
      case DType::Int8:
        return put(static_cast<int8_t>(whole));
      case DType::UInt8:
        return put(static_cast<uint8_t>(whole));
      case DType::Int16:
        return put(static_cast<int16_t>(whole));
      case DType::UInt16:
        return put(static_cast<uint16_t>(whole));
      case DType::UInt32:
        return put(static_cast<uint32_t>(whole));
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

  DType float_dtype() {
    if (dice_.chance(15)) return dice_.chance(50) ? DType::BFloat16 : DType::Float16;
    return dice_.chance(75) ? DType::Float32 : DType::Float64;
  }
  Value any_float() {
    return find(float_dtype(), [&](const Value& v) { return is_float(g_.dtype(v.id)); });
  }
  Value any_integer() {
    return find(draws_small(20)    ? small_integer()
                : dice_.chance(50) ? DType::Int32
                                   : DType::Int64,
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

  // ---- Moves (random_graph_moves.cpp)

  void float_unary();
  void float_binary();
  void integer_math();
  void compare();
  void select();
  void cast();
  void view();
  Dims other_shape(const Dims& s);
  void window();
  void concat();
  Dims some_dims(size_t rank);
  void reduce();
  void positions();
  Value contract(NodeId a, NodeId b, const ContractSpec& spec, int64_t summed, double bound);
  void matmul();
  void convolution();
  NodeId indices(const Dims& s, int64_t extent);
  Dims index_shape(const Dims& s, size_t dim);
  void gather();
  void scatter();
  void scan();
  void random();
  void softmax();

  // ---- Ends

  void choose_outputs();

  std::vector<uint32_t> all_uses() const;

  void add_gradients();

  RandomGraph& out_;
  Graph& g_;
  RandomGraphOptions options_;
  Dice dice_;
  bool differentiates_ = false, has_empty_ = false;
  int64_t extents_[3] = {};
  std::vector<Value> values_;
};

}  // namespace coregrad::random_graphs
