#include "schedule/contract/roles.h"

#include "base/checked.h"

#include <algorithm>
#include <cmath>

namespace coregrad {

bool ContractRoles::is_plain(const AffineOperand& operand, const FlatSpace& space) const {
  return operand.checks.empty() && segments(operand, space).size() == 1 &&
         segments(operand, k).size() == 1;
}

bool ContractRoles::shares_rows() const {
  return std::ranges::none_of(p.labels, [&](int64_t label) { return row_side.depends_on(label); });
}

namespace {

/// Orders labels by falling distance in memory, so that neighbours can merge and the last is the
/// closest. Stable: equal ones keep their order.
void sort_by_distance(std::vector<int64_t>& labels, const std::vector<SymInt>& distances) {
  const auto distance = [&](int64_t label) { return std::abs(distances[label].hint()); };
  std::stable_sort(labels.begin(), labels.end(),
                   [&](int64_t x, int64_t y) { return distance(x) > distance(y); });
}

/// What all assignments have in common.
class Arranger {
 public:
  Arranger(const ContractKernel& kernel, const Target& target) {
    common_.dtype = kernel.dtype;
    common_.sizes = kernel.spec.extents;
    assumed_ = kernel.assumed;
    assumed_.resize(common_.sizes.size());
    for (size_t label = 0; label < common_.sizes.size(); ++label)
      common_.extents.push_back(assumed_[label].least > 0 ? assumed_[label].least
                                                          : common_.sizes[label].hint());
    common_.has_symbols = kernel.has_symbols();
    common_.width = std::max<int64_t>(1, target.lanes(size_of(kernel.dtype)));
    common_.any_size = kernel.any_size || common_.has_symbols;
    sides_[0] = affine_operand(kernel.lhs, kernel.dtype, kernel.spec.lhs, common_.sizes);
    sides_[1] = affine_operand(kernel.rhs, kernel.dtype, kernel.spec.rhs, common_.sizes);
    for (int64_t label = 0; label < std::ssize(common_.sizes); ++label)
      if (!is_one(label) && kernel.spec.is_summed(label)) summed_.push_back(label);
    // Where the first result goes decides along which labels vectors can be stored.
    store_factor_.resize(common_.extents.size(), 0);
    const KernelStore& store = kernel.epilogue.stores.front();
    int axis = 0;
    for (const int64_t label : kernel.spec.out) {
      SymInt factor = 0;
      const bool is_affine = kernel.epilogue.context.affine_in(store.index, axis++, &factor);
      if (is_one(label)) continue;
      outputs_.push_back(label);
      store_factor_[label] = is_affine ? factor : SymInt(0);
    }
  }

  /// `only_contiguous`: lanes are labels that one vector store can run across; the others are
  /// looped over outside. `k_by_rows`: the row side reads its memory in order, else the lane side.
  ContractRoles arrange(bool swapped, bool only_contiguous, bool k_by_rows) const {
    ContractRoles roles = common_;
    roles.swapped = swapped;
    roles.row_side = sides_[swapped ? 1 : 0];
    roles.lane_side = sides_[swapped ? 0 : 1];
    std::vector<int64_t> p, m, n, lanes, k = summed_;
    for (const int64_t label : outputs_) {
      const bool in_rows = roles.row_side.depends_on(label),
                 in_lanes = roles.lane_side.depends_on(label);
      (in_rows && !in_lanes ? m : in_lanes && !in_rows ? lanes : p).push_back(label);
    }
    sort_by_distance(lanes, store_factor_);
    if (only_contiguous) {
      SymInt reach = 1;
      while (!lanes.empty() && SymInt::are_equal(store_factor_[lanes.back()], reach)) {
        reach *= roles.sizes[lanes.back()];
        n.insert(n.begin(), lanes.back());
        lanes.pop_back();
      }
      p.insert(p.end(), lanes.begin(), lanes.end());
    } else {
      n = lanes;
    }
    sort_by_distance(m, roles.row_side.coef);
    sort_by_distance(k, (k_by_rows ? roles.row_side : roles.lane_side).coef);
    roles.p = space(std::move(p)), roles.m = space(std::move(m));
    roles.n = space(std::move(n)), roles.k = space(std::move(k));
    SymInt reach = 1;
    for (auto label = roles.n.labels.rbegin(); label != roles.n.labels.rend(); ++label) {
      roles.stores_vectors =
          roles.stores_vectors && SymInt::are_equal(store_factor_[*label], reach);
      reach *= roles.sizes[*label];
    }
    if (!roles.n.labels.empty())
      roles.store_step = std::abs(store_factor_[roles.n.labels.back()].hint());
    return roles;
  }

 private:
  bool is_one(int64_t label) const { return is_always(common_.sizes[label], 1); }

  FlatSpace space(std::vector<int64_t> labels) const {
    FlatSpace result;
    int64_t least = 0;
    for (const int64_t label : labels)
      if (assumed_[label].least > 0) least = 1;
    for (const int64_t label : labels) {
      result.size = checked_mul(result.size, common_.sizes[label], "contract");
      result.extent = checked_mul(result.extent, common_.extent(label), "contract");
      result.is_fixed =
          result.is_fixed && (common_.sizes[label].is_number() || assumed_[label].is_exact);
      if (common_.sizes[label].is_number() || assumed_[label].least > 0)
        least *= common_.extent(label);
    }
    result.least = result.is_fixed ? result.extent : least > 0 ? least : kFew;
    result.labels = std::move(labels);
    return result;
  }

  ContractRoles common_;
  AffineOperand sides_[2];
  std::vector<int64_t> outputs_, summed_;
  std::vector<AssumedExtent> assumed_;
  std::vector<SymInt> store_factor_;  ///< of each label, in the index of the first store
};

}  // namespace

std::vector<ContractRoles> possible_roles(const ContractKernel& kernel, const Target& target) {
  const Arranger arranger(kernel, target);
  std::vector<ContractRoles> all;
  for (const bool swapped : {false, true})
    for (const bool only_contiguous : {true, false})
      for (const bool k_by_rows : {true, false})
        all.push_back(arranger.arrange(swapped, only_contiguous, k_by_rows));
  return all;
}

}  // namespace coregrad
