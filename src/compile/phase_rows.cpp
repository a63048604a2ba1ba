// Contracts whose windows divide (transposed convolutions, input gradients of strided ones) and
// that have few channels: the phases of the output become rows of one product without division.
//
// An operand is read at (a*u + b*v + c) / s, u a label of the output and v a step of the window,
// which alone finds a place in the other operand. With u = s*u' + r and t the whole number that is
// left of (a*r + b*v + c) / s, the place is a*u' + t: a window of stride 1 whose steps are t, and
// v = (s*t - a*r - c) / b. So the other operand has rows r beside its own, and zeros where v is no
// step of the window: at most one of s steps of each row. Few rows are many more then, and what is
// read through the window is packed once for all phases. (schedule/contract/phases.h, for many
// channels, makes one product of each phase and multiplies no zeros.)

#include "base/checked.h"
#include "codegen/jit/host_target.h"
#include "compile/pipeline.h"
#include "ops/primitives.h"

#include <algorithm>
#include <optional>

namespace coregrad {
namespace {

constexpr int64_t kFewChannels = 4;
constexpr int64_t kMostPhases = 64;  ///< of all dimensions together, where windows are left

class PhaseRows {
 public:
  explicit PhaseRows(const ContractSpec& spec)
      : spec_(spec), labels_(static_cast<int64_t>(spec.extents.size())) {}

  /// Splits what divides; whether anything did. The new contract is `spec` then.
  bool split() {
    for (const bool in_rhs : {false, true})
      for (DimMap& map : maps(in_rhs)) split_dimension(map, in_rhs);
    return phases_ > 1;
  }

  const ContractSpec& spec() const { return spec_; }
  /// Multiply-adds for each that meets an element: zeros of the window's last step are the rest.
  double waste() const { return waste_; }
  /// Rows of the operand without windows, but for phases.
  int64_t channels() const { return channels_; }

 private:
  std::vector<DimMap>& maps(bool in_rhs) { return in_rhs ? spec_.rhs : spec_.lhs; }
  SymInt& extent(int64_t label) { return spec_.extents[label]; }

  void split_dimension(DimMap& map, bool in_rhs) {
    const int64_t s = map.s;
    if (s == 1 || map.v < 0) return;
    if (spec_.is_summed(map.u) == spec_.is_summed(map.v)) return;
    const bool is_u_out = !spec_.is_summed(map.u);
    const int64_t out = is_u_out ? map.u : map.v, step = is_u_out ? map.v : map.u;
    const int64_t a = is_u_out ? map.a : map.b, b = is_u_out ? map.b : map.a, c = map.c;
    const auto uses = [](int64_t label) {
      return [label](const DimMap& m) { return m.u == label || m.v == label; };
    };
    const auto other = std::ranges::find_if(maps(!in_rhs), uses(step));
    if (other == maps(!in_rhs).end() || !other->is_plain() ||
        std::ranges::count_if(maps(!in_rhs), uses(step)) != 1 ||
        std::ranges::count_if(maps(in_rhs), uses(step)) != 1 ||
        std::ranges::count_if(maps(in_rhs), uses(out)) != 1 ||
        std::ranges::count_if(maps(!in_rhs), uses(out)) != 0 || !extent(step).is_number())
      return;
    int64_t low = INT64_MAX, high = INT64_MIN;  // of t
    for (int64_t r = 0; r < s; ++r)
      for (int64_t v = 0; v < extent(step); ++v) {
        const int64_t x = a * r + b * v + c;
        if (floor_mod(x, s) != 0) continue;
        low = std::min(low, floor_div(x, s)), high = std::max(high, floor_div(x, s));
      }
    if (low > high || (low < high && phases_ * s > kMostPhases)) return;
    const auto phase = static_cast<int64_t>(spec_.extents.size());
    const int64_t sign = b < 0 ? -1 : 1;
    *other = {phase, step, -sign * a, sign * s, sign * (s * low - c), std::abs(b)};
    map = {out, step, a, 1, low, 1};
    waste_ *= static_cast<double>(s * (high - low + 1)) / static_cast<double>(extent(step));
    phases_ *= s;
    channels_ = 1;
    for (int64_t label = 0; label < labels_; ++label)
      if (role_of(spec_, label) == (in_rhs ? LabelRole::LhsFree : LabelRole::RhsFree))
        channels_ *= extent(label).hint();
    extent(step) = high - low + 1;
    extent(out) = ceil_div(extent(out), s);
    spec_.extents.push_back(s);
    spec_.out.insert(std::ranges::find(spec_.out, out) + 1, phase);
  }

  ContractSpec spec_;
  const int64_t labels_;  ///< those after them are phases
  int64_t phases_ = 1, channels_ = 1;
  double waste_ = 1;
};

std::optional<NodeId> with_phase_rows(Graph& graph, const ContractSpec& spec, Shape shape,
                                      std::span<const NodeId> operands) {
  if (!spec.has_windows() || has_zero(spec.extents)) return std::nullopt;
  PhaseRows rows(spec);
  if (!rows.split()) return std::nullopt;
  if (rows.waste() > 1 && rows.channels() > kFewChannels &&
      spec.work() >= host_target().thresholds.contract_phase)
    return std::nullopt;
  std::vector<SymInt> padded;  // places and phases of a label are one dimension again
  for (const int64_t label : rows.spec().out) {
    const SymInt extent = rows.spec().extents[label];
    if (label < static_cast<int64_t>(spec.extents.size()))
      padded.push_back(extent);
    else
      padded.back() *= extent;
  }
  const NodeId product = ops::contract(graph, operands[0], operands[1], rows.spec());
  const std::vector<SymInt> starts(shape.size(), 0), ones(shape.size(), 1);
  return ops::slice(graph, ops::reshape(graph, product, padded), starts, shape, ones);
}

}  // namespace

NodeId phase_rows(Graph& into, const Graph& from, NodeId node, std::span<const NodeId> operands) {
  if (from[node].op == Op::Contract)
    if (const std::optional<NodeId> made = with_phase_rows(
            into, ContractSpec::decode(from.attrs(node)), from.shape(node), operands))
      return *made;
  return ops::rebuild(into, from, node, operands);
}

}  // namespace coregrad
