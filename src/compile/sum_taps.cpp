// Transposed convolutions from several channels to few, on small images: one product gives each
// step of the window its own plane, and the loop emitter adds up the planes, shifted, for each
// phase of the output.
//
// The product has the window's steps as rows (3 x 3 times the few channels), reads both operands in
// place and multiplies no zeros. Its result is read once for each step, so it has to stay in a
// cache. A bias is added phase by phase: the phases are then the memory of the result.

#include "base/checked.h"
#include "compile/pipeline.h"
#include "kernel/index_expr.h"
#include "ops/primitives.h"

#include <algorithm>
#include <optional>

namespace coregrad {
namespace {

constexpr int64_t kMostSteps = 64, kMostPhases = 16;
constexpr int64_t kMostElements = 64 * 1024;  ///< of the planes
constexpr int64_t kLeastSummed = 8;  ///< products a plane adds up, for each time it is read
constexpr int64_t kFewChannels = 4;

using Sizes = std::vector<SymInt>;

/// A dimension that the window slides over: read at (out + b * step + c) / s.
struct Slide {
  size_t dim = 0;
  int64_t out = 0, step = 0, b = 0, c = 0, s = 1;
  int64_t in_extent = 0, places = 0;  ///< elements, and results of each phase
};

class TapSum {
 public:
  TapSum(Graph& graph, std::span<const NodeId> operands, const ContractSpec& spec)
      : graph_(graph), operands_(operands), spec_(spec) {}

  /// The contract's result, plus `bias`: [the contract's labels], 1 where a window slides.
  std::optional<NodeId> make(std::optional<NodeId> bias = std::nullopt) {
    if (has_symbols() || has_zero(spec_.extents) || !find_slides() || !pays()) return std::nullopt;
    if (bias && !arrange_as_phase(*bias)) return std::nullopt;
    const NodeId planes = product();
    std::vector<NodeId> phases;
    for_each(strides_, [&](const Sizes& r) {
      NodeId sum = phase(planes, r);
      if (bias) sum = ops::add(graph_, sum, ops::broadcast_to(graph_, *bias, graph_.shape(sum)));
      phases.push_back(sum);
    });
    return arranged(std::move(phases));
  }

 private:
  /// Whether there is a phase, and whether it pays, depends on the sizes.
  bool has_symbols() const {
    const auto is_sized = [&](NodeId x) { return coregrad::has_symbols(graph_.shape(x)); };
    return coregrad::has_symbols(spec_.extents) || std::ranges::any_of(operands_, is_sized);
  }
  int64_t extent(int64_t label) const { return spec_.extents[label]; }
  static bool uses(const DimMap& m, int64_t label) { return m.u == label || m.v == label; }

  /// All windows of the contract, if one operand has them and they divide somewhere.
  bool find_slides() {
    for (const bool in_rhs : {false, true}) {
      const std::vector<DimMap>& maps = in_rhs ? spec_.rhs : spec_.lhs;
      const std::vector<DimMap>& others = in_rhs ? spec_.lhs : spec_.rhs;
      for (size_t d = 0; d < maps.size(); ++d) {
        const DimMap& m = maps[d];
        if (m.is_plain()) continue;
        if (m.v < 0 || spec_.is_summed(m.u) == spec_.is_summed(m.v)) return false;
        if (!slides_.empty() && in_rhs != in_rhs_) return false;
        in_rhs_ = in_rhs;
        const bool is_u_out = !spec_.is_summed(m.u);
        const Slide slide{.dim = d,
                          .out = is_u_out ? m.u : m.v,
                          .step = is_u_out ? m.v : m.u,
                          .b = is_u_out ? m.b : m.a,
                          .c = m.c,
                          .s = m.s,
                          .in_extent = graph_.shape(operands_[in_rhs])[d],
                          .places = ceil_div(extent(is_u_out ? m.u : m.v), m.s)};
        const auto count = [](const std::vector<DimMap>& in, int64_t label) {
          return std::ranges::count_if(in, [&](const DimMap& map) { return uses(map, label); });
        };
        if ((is_u_out ? m.a : m.b) != 1 || count(maps, slide.out) != 1 ||
            count(others, slide.out) != 0 || count(maps, slide.step) != 1 ||
            count(others, slide.step) != 1)
          return false;
        slides_.push_back(slide);
        strides_.push_back(slide.s);
        steps_.push_back(extent(slide.step));
      }
    }
    return std::ranges::any_of(strides_, [](int64_t s) { return s > 1; });
  }

  bool pays() {
    const auto product_of = [](const Sizes& sizes) {
      int64_t product = 1;
      for (const int64_t size : sizes) product = std::min(product * size, INT64_MAX / 1024 / 1024);
      return product;
    };
    int64_t planes = product_of(steps_), summed = 1, channels = 1;
    if (planes > kMostSteps || product_of(strides_) > kMostPhases || steps_ == strides_)
      return false;
    for (const Slide& slide : slides_) planes *= std::max<int64_t>(slide.in_extent, 1);
    for (int64_t label = 0; label < static_cast<int64_t>(spec_.extents.size()); ++label) {
      if (is_slide(label)) continue;
      if (spec_.is_summed(label))
        summed *= extent(label);
      else
        kept_.push_back(label), planes = std::min(planes * extent(label), INT64_MAX / 1024 / 1024);
      if (role_of(spec_, label) == (in_rhs_ ? LabelRole::LhsFree : LabelRole::RhsFree))
        channels *= extent(label);
    }
    return planes <= kMostElements && summed >= kLeastSummed && channels <= kFewChannels;
  }

  bool is_slide(int64_t label) const {
    return std::ranges::any_of(slides_,
                               [&](const Slide& s) { return s.out == label || s.step == label; });
  }

  /// [labels that stay, steps, elements of the operand with windows]
  NodeId product() {
    ContractSpec planes = spec_;
    planes.out = kept_;
    for (const Slide& slide : slides_) planes.out.push_back(slide.step);
    for (const Slide& slide : slides_) {
      // The output's label counts elements of the operand now.
      planes.extents[slide.out] = slide.in_extent;
      (in_rhs_ ? planes.rhs : planes.lhs)[slide.dim] = DimMap::label(slide.out);
      planes.out.push_back(slide.out);
    }
    return ops::contract(graph_, operands_[0], operands_[1], planes);
  }

  template <class F>
  static void for_each(const Sizes& extents, F f) {
    int64_t count = 1;
    for (const int64_t extent : extents) count *= extent;
    Sizes at(extents.size());
    for (int64_t i = 0; i < count; ++i) {
      int64_t rest = i;
      for (size_t d = extents.size(); d-- > 0; rest /= extents[d]) at[d] = rest % extents[d];
      f(at);
    }
  }

  /// [labels that stay, places]: the results at s * place + r.
  NodeId phase(NodeId planes, const Sizes& r) {
    std::optional<NodeId> sum;
    for_each(steps_, [&](const Sizes& k) {
      Sizes starts(kept_.size(), 0), stops, low(kept_.size(), 0), high(low), kept;
      for (const int64_t label : kept_) stops.push_back(extent(label));
      kept = stops;
      for (const int64_t step : k) starts.push_back(step), stops.push_back(step + 1);
      for (size_t d = 0; d < slides_.size(); ++d) {
        const Slide& slide = slides_[d];
        const int64_t x = r[d] + slide.b * k[d] + slide.c;
        if (floor_mod(x, slide.s) != 0) return;
        const int64_t t = floor_div(x, slide.s);  // place p reads element p + t
        const int64_t from = std::max<int64_t>(0, t),
                      to = std::min(slide.in_extent, slide.places + t);
        if (from >= to) return;
        starts.push_back(from), stops.push_back(to), kept.push_back(to - from);
        low.push_back(from - t), high.push_back(slide.places + t - to);
      }
      const Sizes ones(starts.size(), 1), none(low.size(), 0);
      const NodeId part =
          ops::reshape(graph_, ops::slice(graph_, planes, starts, stops, ones), kept);
      const NodeId shifted =
          ops::pad(graph_, part, low, high, none, Scalar::of(graph_.dtype(part), 0));
      sum = sum ? ops::add(graph_, *sum, shifted) : shifted;
    });
    if (sum) return *sum;
    Sizes shape;
    for (const int64_t label : kept_) shape.push_back(extent(label));
    for (const Slide& slide : slides_) shape.push_back(slide.places);
    return ops::full(graph_, shape, Scalar::of(graph_.dtype(planes), 0));
  }

  /// From the contract's order of labels to a phase's; false if it varies where a window slides.
  bool arrange_as_phase(NodeId& bias) {
    Sizes labels(kept_.begin(), kept_.end()), order;
    for (const Slide& slide : slides_) labels.push_back(slide.out);
    for (const int64_t label : labels) {
      order.push_back(std::ranges::find(spec_.out, label) - spec_.out.begin());
      const int64_t size = graph_.shape(bias)[order.back()];
      if (order.size() > kept_.size() && size != 1) return false;
    }
    bias = ops::permute(graph_, bias, order);
    return true;
  }

  /// The phases as the contract's result: place and phase of each dimension side by side.
  NodeId arranged(std::vector<NodeId> phases) {
    Sizes shape, padded, stops;
    for (const int64_t label : kept_) shape.push_back(extent(label));
    padded = stops = shape;
    for (const Slide& slide : slides_) {
      shape.push_back(slide.places), shape.push_back(1);
      padded.push_back(slide.places * slide.s), stops.push_back(extent(slide.out));
    }
    for (NodeId& phase : phases) phase = ops::reshape(graph_, phase, shape);
    for (size_t d = slides_.size(); d-- > 0;) {
      const auto s = static_cast<size_t>(slides_[d].s);
      std::vector<NodeId> joined;
      for (size_t i = 0; i < phases.size(); i += s)
        joined.push_back(s == 1 ? phases[i]
                                : ops::concat(graph_, std::span(phases).subspan(i, s),
                                              static_cast<int64_t>(kept_.size() + 2 * d + 1)));
      phases = std::move(joined);
    }
    const Sizes zeros(padded.size(), 0), ones(padded.size(), 1);
    const NodeId whole =
        ops::slice(graph_, ops::reshape(graph_, phases[0], padded), zeros, stops, ones);
    Sizes labels(kept_.begin(), kept_.end()), order;
    for (const Slide& slide : slides_) labels.push_back(slide.out);
    for (const int64_t label : spec_.out)
      order.push_back(std::ranges::find(labels, label) - labels.begin());
    return ops::permute(graph_, whole, order);
  }

  Graph& graph_;
  const std::span<const NodeId> operands_;
  const ContractSpec& spec_;
  bool in_rhs_ = false;
  std::vector<Slide> slides_;
  Sizes strides_, steps_;
  std::vector<int64_t> kept_;
};

/// What is expanded to `shape`, as if that were reshaped to `wanted`: [1, 6, 1] for [2, 6, 9] is
/// [1, 2, 3, 1] for [2, 2, 3, 9].
std::optional<Sizes> expanded_from(Shape small, Shape shape, Shape wanted) {
  Sizes result;
  size_t at = 0;
  for (size_t d = 0; d < shape.size(); ++d)
    for (SymInt left = shape[d]; !SymInt::are_equal(left, 1); ++at) {
      if (at == wanted.size() || !is_multiple(left, wanted[at])) return std::nullopt;
      result.push_back(small[d] == 1 ? SymInt(1) : wanted[at]);
      left = floor_div(left, wanted[at]);
    }
  result.resize(wanted.size(), 1);
  return result;
}

/// A sum of a contract, perhaps reshaped, and what is expanded to its shape.
std::optional<NodeId> with_bias(Graph& into, const Graph& from, NodeId sum,
                                std::span<const NodeId> operands) {
  for (const size_t side : {0, 1}) {
    NodeId contract = from.operand(sum, side);
    if (from[contract].op == Op::Reshape) contract = from.operand(contract, 0);
    const NodeId expanded = operands[1 - side];
    if (from[contract].op != Op::Contract || into[expanded].op != Op::Expand ||
        from.numel(sum) == 0 || !ContractSpec::decode(from.attrs(contract)).has_windows())
      continue;
    const NodeId small = into.operand(expanded, 0);
    const std::optional<Sizes> sizes =
        expanded_from(into.shape(small), from.shape(sum), from.shape(contract));
    if (!sizes) continue;
    NodeId planes = operands[side];
    while (into[planes].op != Op::Contract && into[planes].num_operands > 0)
      planes = into.operand(planes, 0);
    if (into[planes].op != Op::Contract) continue;
    const ContractSpec spec = ContractSpec::decode(from.attrs(contract));
    const NodeId factors[] = {into.operand(planes, 0), into.operand(planes, 1)};
    const std::optional<NodeId> made =
        TapSum(into, factors, spec).make(ops::reshape(into, small, *sizes));
    if (made) return ops::reshape(into, *made, from.shape(sum));
  }
  return std::nullopt;
}

}  // namespace

NodeId sum_taps(Graph& into, const Graph& from, NodeId node, std::span<const NodeId> operands) {
  if (from[node].op == Op::Contract) {
    const ContractSpec spec = ContractSpec::decode(from.attrs(node));
    if (!spec.has_windows()) return ops::rebuild(into, from, node, operands);
    if (const std::optional<NodeId> made = TapSum(into, operands, spec).make()) return *made;
  }
  if (from[node].op == Op::Add)
    if (const std::optional<NodeId> made = with_bias(into, from, node, operands)) return *made;
  return ops::rebuild(into, from, node, operands);
}

}  // namespace coregrad
