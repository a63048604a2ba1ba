#pragma once
// What the parts of a step's code share while it is written.

#include "codegen/contract/operand_address.h"
#include "codegen/ir/shared_functions.h"
#include "codegen/ir/step_params.h"
#include "schedule/contract/plan.h"

#include <llvm/IR/IRBuilder.h>

#include <string>

namespace coregrad {

/// A number that planning chooses.
using NumberOfPlan = int64_t (*)(const ContractPlan&);

/// The parameters of a step. Where there are symbols, numbers of the plan are chosen again when
/// they have values: what is told here is which parameters these are.
class ContractParams : public StepParams {
 public:
  struct Chosen {
    size_t param;
    size_t phase;  ///< whose plan it is
    NumberOfPlan of;
  };

  /// What follows is for the plan of this phase.
  void start_phase(size_t phase) { phase_ = phase; }

  /// As a parameter.
  llvm::Value* number(const ContractPlan& plan, NumberOfPlan of) {
    if (plan.has_symbols) chosen_.push_back({values().size(), phase_, of});
    return add(of(plan));
  }
  /// As a constant where there are no symbols.
  llvm::Value* constant(const ContractPlan& plan, NumberOfPlan of) {
    return plan.has_symbols ? number(plan, of) : size(of(plan));
  }
  const std::vector<Chosen>& chosen() const { return chosen_; }

  /// LaneWindows::step_offsets, for all functions of a phase.
  struct Table {
    size_t param;
    size_t phase;
    size_t count;
  };
  void reserve_table(size_t count) { tables_.push_back({reserve(count), phase_, count}); }
  const std::vector<Table>& tables() const { return tables_; }

 private:
  std::vector<Chosen> chosen_;
  std::vector<Table> tables_;
  size_t phase_ = 0;
};

/// A function that other steps have too, and where its parameters lie among the step's.
struct SharedPart {
  llvm::Function* function = nullptr;
  size_t first_param = 0;
};

/// Adds the function that write(module) makes and fills. Its last argument is the pointer to its
/// parameters.
template <class Write>
SharedPart add_shared_part(SharedFunctions& shared, llvm::Module& module, ContractParams& params,
                           Write write) {
  const size_t first = params.count();
  return {shared.add(module, write), first};
}

/// A function of units under construction, and its values.
struct StepContext {
  llvm::Module& module;
  SharedFunctions& shared;
  const std::string& symbol;
  const ContractPlan& plan;
  const Target& target;
  ContractParams& params;
  llvm::IRBuilder<> b;
  llvm::Type* element;
  llvm::Value *args = nullptr, *row_source = nullptr, *lane_source = nullptr;
  llvm::Value *lane_pack = nullptr, *row_pack = nullptr, *result = nullptr, *copy = nullptr;
  llvm::Value* num_tall_panels = nullptr;

  llvm::Value* at(llvm::Value* base, llvm::Value* elements) {
    return b.CreateGEP(element, base, elements);
  }
  llvm::Value* constant(int64_t value) { return emit_i64(b, value); }
  llvm::Value* number(NumberOfPlan of) { return params.number(plan, of); }
};

/// What is packed and multiplied at once: a group, rows and lanes, and steps of k.
struct Block {
  llvm::Value* p = nullptr;
  llvm::Value *m0 = nullptr, *m1 = nullptr, *first_panel = nullptr, *end_panel = nullptr;
  llvm::Value *n0 = nullptr, *n1 = nullptr;
  llvm::Value *k0 = nullptr, *k1 = nullptr;
};

}  // namespace coregrad
