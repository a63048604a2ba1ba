// Contracts of windows in which nothing is shared between outputs but the window's steps, such as
// depthwise convolutions and their gradients, become products of shifted operands, one a step of
// the window, that are added up or summed one by one. Lanes then run along the image, the kernels
// fuse with what is around them, and no operand is packed. What lies outside of an operand is left
// out of the sum and not multiplied by zero.

#include "base/checked.h"
#include "compile/pipeline.h"
#include "ops/primitives.h"

#include <algorithm>
#include <numeric>
#include <optional>

namespace coregrad {
namespace {

constexpr int64_t kMostSteps = 64;

using Labels = std::vector<SymInt>;

/// The values of a label for which an index lies inside of its dimension: low, low + step, ...
struct Valid {
  int64_t low = 0, step = 1;
  SymInt count = 0;
};

/// One dimension of an operand once the window's steps are fixed: it is read at
/// (factor * label + offset) / divisor, or at offset / divisor where label is -1.
struct Read {
  int64_t label = -1, factor = 0, offset = 0, divisor = 1;
};

class WindowUnroller {
 public:
  WindowUnroller(Graph& graph, NodeId lhs, NodeId rhs, const ContractSpec& spec)
      : graph_(graph), operands_{lhs, rhs}, spec_(spec), maps_{&spec.lhs, &spec.rhs} {}

  /// The contract in its new form; nothing where it shares more than steps of windows.
  std::optional<NodeId> unroll() {
    if (!spec_.has_windows() || has_zero(spec_.extents)) return std::nullopt;
    for (const bool summed : {true, false})
      if (choose_steps(summed)) return summed ? add_steps() : concat_steps();
    return std::nullopt;
  }

 private:
  SymInt extent(int64_t label) const { return spec_.extents[label]; }
  bool is_step(int64_t label) const { return std::ranges::count(steps_, label) > 0; }

  /// Takes the summed or the free labels of all windows as its steps, if the rest is elementwise.
  bool choose_steps(bool summed) {
    steps_.clear();
    rest_.clear();
    for (const std::vector<DimMap>* maps : maps_)
      for (const DimMap& m : *maps) {
        if (m.v < 0) continue;
        if (spec_.is_summed(m.u) == spec_.is_summed(m.v)) return false;
        const int64_t step = spec_.is_summed(m.u) == summed ? m.u : m.v;
        if (!is_step(step)) steps_.push_back(step);
      }
    std::ranges::sort(steps_);
    num_steps_ = 1;
    for (const int64_t label : steps_) {
      if (!extent(label).is_number() || extent(label) > kMostSteps) return false;
      num_steps_ *= extent(label).number();
      if (num_steps_ > kMostSteps) return false;
    }
    if (steps_.empty() || num_steps_ == 1) return false;
    bool lhs_is_free = false, rhs_is_free = false;
    for (int64_t label = 0; label < static_cast<int64_t>(spec_.extents.size()); ++label) {
      if (is_step(label) || SymInt::are_equal(extent(label), 1)) continue;
      const LabelRole role = role_of(spec_, label);
      if (role == LabelRole::Summed && summed) return false;
      lhs_is_free |= role == LabelRole::LhsFree;
      rhs_is_free |= role == LabelRole::RhsFree;
    }
    if (summed ? lhs_is_free && rhs_is_free : lhs_is_free || rhs_is_free) return false;
    for (const int64_t label : spec_.out)
      if (!is_step(label)) rest_.push_back(label);
    num_kept_ = rest_.size();
    for (int64_t label = 0; label < static_cast<int64_t>(spec_.extents.size()); ++label)
      if (!is_step(label) && spec_.is_summed(label)) rest_.push_back(label);
    return is_simple();
  }

  /// Every other label goes forward, addresses one dimension of an operand, and at most one of
  /// both that is not simply its own.
  bool is_simple() const {
    std::vector<int> special(spec_.extents.size(), 0);
    for (const std::vector<DimMap>* maps : maps_) {
      std::vector<bool> seen(spec_.extents.size(), false);
      for (const DimMap& m : *maps) {
        const bool u = !is_step(m.u), v = m.v >= 0 && !is_step(m.v);
        if (u && v) return false;
        if (!u && !v) continue;
        const auto label = static_cast<size_t>(u ? m.u : m.v);
        if ((u ? m.a : m.b) < 1 || seen[label]) return false;
        seen[label] = true;
        if (!m.is_plain() && ++special[label] > 1) return false;
      }
    }
    return true;
  }

  /// Products at one step of the window, over the rest's labels; nothing where all are outside.
  std::optional<NodeId> product(const Labels& at) {
    std::vector<Valid> valid(spec_.extents.size());
    for (const int64_t label : rest_) valid[label] = {0, 1, extent(label)};
    std::vector<Read> reads[2];
    for (size_t side = 0; side < 2; ++side) {
      const Shape shape = graph_.shape(operands_[side]);
      for (size_t d = 0; d < shape.size(); ++d) {
        const DimMap& m = (*maps_[side])[d];
        Read read{-1, 0, m.c, m.s};
        for (const auto& [label, factor] : {std::pair{m.u, m.a}, std::pair{m.v, m.b}}) {
          if (label < 0) continue;
          if (is_step(label))
            read.offset += factor * at[label];
          else
            read.label = label, read.factor = factor;
        }
        if (read.label < 0) {
          if (read.offset % m.s != 0 || read.offset < 0 || read.offset / m.s >= shape[d])
            return std::nullopt;
        } else if (!m.is_plain()) {
          Valid& of_label = valid[read.label];
          of_label = inside(read, extent(read.label), shape[d]);
          if (of_label.count <= 0) return std::nullopt;
        }
        reads[side].push_back(read);
      }
    }
    NodeId factors[2];
    for (size_t side = 0; side < 2; ++side)
      factors[side] = arranged(operands_[side], reads[side], valid);
    const NodeId inner = ops::mul(graph_, factors[0], factors[1]);
    std::vector<SymInt> low, high, interior;
    for (const int64_t label : rest_) {
      const Valid& v = valid[label];
      low.push_back(v.low);
      interior.push_back(v.step - 1);
      high.push_back(extent(label) - 1 - v.low - (v.count - 1) * v.step);
    }
    return ops::pad(graph_, inner, low, high, interior, Scalar::of(graph_.dtype(inner), 0));
  }

  /// The values of the label, less than `extent`, at which a dimension of `size` has an element.
  static Valid inside(const Read& read, SymInt extent, SymInt size) {
    Valid result;
    result.step = read.divisor / std::gcd(read.factor, read.divisor);
    int64_t first = 0;
    while (first < result.step && (read.factor * first + read.offset) % read.divisor != 0) ++first;
    if (first == result.step) return result;
    const int64_t index = (read.factor * first + read.offset) / read.divisor;
    const int64_t stride = read.factor * result.step / read.divisor;
    const int64_t from = std::max<int64_t>(0, ceil_div(-index, stride));
    const SymInt to =
        min(floor_div(size - 1 - index, stride), floor_div(extent - 1 - first, result.step));
    result.low = first + from * result.step;
    result.count = to - from + 1;
    return result;
  }

  /// The operand's valid part with the rest's labels as dimensions, of extent 1 where it has none.
  NodeId arranged(NodeId x, const std::vector<Read>& reads, const std::vector<Valid>& valid) {
    std::vector<SymInt> starts, stops, steps, order, shape;
    for (const Read& read : reads) {
      const Valid v = read.label < 0 ? Valid{0, 1, 1} : valid[read.label];
      const int64_t step = std::max<int64_t>(1, read.factor * v.step / read.divisor);
      starts.push_back((read.factor * v.low + read.offset) / read.divisor);
      stops.push_back(starts.back() + (v.count - 1) * step + 1);
      steps.push_back(step);
    }
    const NodeId part = ops::slice(graph_, x, starts, stops, steps);
    // Labelled dimensions in the rest's order, then those of one index, which go.
    for (const int64_t label : rest_) {
      const auto read = std::ranges::find(reads, label, &Read::label);
      const bool has = read != reads.end();
      if (has) order.push_back(read - reads.begin());
      shape.push_back(has ? valid[label].count : SymInt(1));
    }
    for (size_t d = 0; d < reads.size(); ++d)
      if (reads[d].label < 0) order.push_back(static_cast<int64_t>(d));
    return ops::reshape(graph_, ops::permute(graph_, part, order), shape);
  }

  template <class Function>
  void for_each_step(Function function) const {
    Labels at(spec_.extents.size(), 0);
    for (int64_t i = 0; i < num_steps_; ++i) {
      int64_t rest = i;
      for (size_t s = steps_.size(); s-- > 0;) {
        at[steps_[s]] = rest % extent(steps_[s]).number();
        rest /= extent(steps_[s]).number();
      }
      function(at);
    }
  }

  NodeId zeros(const Labels& labels, DType dtype) {
    std::vector<SymInt> shape;
    for (const int64_t label : labels) shape.push_back(extent(label));
    return ops::full(graph_, shape, Scalar::of(dtype, 0));
  }

  NodeId add_steps() {
    std::optional<NodeId> sum;
    for_each_step([&](const Labels& at) {
      const std::optional<NodeId> one = product(at);
      if (one) sum = sum ? ops::add(graph_, *sum, *one) : *one;
    });
    if (!sum) sum = zeros(rest_, graph_.dtype(operands_[0]));
    // What is summed besides has one element.
    std::vector<SymInt> shape;
    for (const int64_t label : spec_.out) shape.push_back(extent(label));
    return ops::reshape(graph_, *sum, shape);
  }

  NodeId concat_steps() {
    const Labels kept(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(num_kept_));
    const DType dtype = graph_.dtype(operands_[0]);
    std::vector<SymInt> summed(rest_.size() - num_kept_);
    std::iota(summed.begin(), summed.end(), static_cast<int64_t>(num_kept_));
    std::vector<NodeId> parts;
    for_each_step([&](const Labels& at) {
      std::optional<NodeId> part = product(at);
      if (!part)
        part = zeros(kept, dtype);
      else if (!summed.empty())
        part = ops::cast(graph_, ops::reduce(graph_, Op::Sum, *part, summed), dtype);
      parts.push_back(ops::unsqueeze(graph_, *part, 0));
    });
    std::vector<SymInt> shape, order;
    for (const int64_t label : steps_) shape.push_back(extent(label));
    for (const int64_t label : kept) shape.push_back(extent(label));
    for (const int64_t label : spec_.out) {
      const Labels& among = is_step(label) ? steps_ : kept;
      const int64_t place = std::ranges::find(among, label) - among.begin();
      order.push_back(is_step(label) ? place : place + static_cast<int64_t>(steps_.size()));
    }
    return ops::permute(graph_, ops::reshape(graph_, ops::concat(graph_, parts, 0), shape), order);
  }

  Graph& graph_;
  const NodeId operands_[2];
  const ContractSpec& spec_;
  const std::vector<DimMap>* const maps_[2];
  Labels steps_;  ///< labels of the windows' steps
  Labels rest_;   ///< the others: the output's, then those that are summed
  size_t num_kept_ = 0;
  int64_t num_steps_ = 1;
};

}  // namespace

NodeId unroll_windows(Graph& into, const Graph& from, NodeId node,
                      std::span<const NodeId> operands) {
  if (from[node].op == Op::Contract) {
    const ContractSpec spec = ContractSpec::decode(from.attrs(node));
    if (const std::optional<NodeId> unrolled =
            WindowUnroller(into, operands[0], operands[1], spec).unroll())
      return *unrolled;
  }
  return ops::rebuild(into, from, node, operands);
}

}  // namespace coregrad
