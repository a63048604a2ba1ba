#pragma once
// What plan_contract compares: plans by kind of tile, each with an estimate of what it costs.
// Internal to planning.

#include "schedule/contract/plan.h"

#include <optional>

namespace coregrad {

/// A plan without blocks.
struct Candidate {
  ContractPlan plan;
  double cost = 0;  ///< in vector operations; constants are measured on AVX-512 and only rank
};

// Nothing where a tile does not apply.
std::optional<Candidate> plan_outer(ContractPlan plan, const Target& target);
std::optional<Candidate> plan_dot(ContractPlan plan, const Target& target);
std::optional<Candidate> plan_matrix(ContractPlan plan, const Target& target);

/// The plan with rows packed once for all steps of the windows over them, if there are any.
std::optional<ContractPlan> with_row_windows(ContractPlan plan);
/// The plan with lanes packed once for the steps of windows that slide along the outermost label of
/// the lanes, or along all labels, if there are any.
std::optional<ContractPlan> with_lane_windows(ContractPlan plan, bool all, const Target& target);

/// Blocks of a plan for vector registers.
void choose_blocks(ContractPlan& plan, const Target& target);
/// Blocks of a plan for tile registers.
void choose_matrix_blocks(ContractPlan& plan, const Target& target);

/// Lanes of a block before units are cut: more where each block packs some for its neighbour.
int64_t lanes_of_block(const ContractPlan& plan, const Target& target);
/// ContractPlan::lane_copy_cost in a block of so many lanes.
double lane_copy_cost(const ContractPlan& plan, int64_t lanes);
/// To store a result: whole vectors, every few elements of some lines, or each in a line of its
/// own.
double cost_of_stores(const ContractPlan& plan);

}  // namespace coregrad
