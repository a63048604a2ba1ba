#pragma once
// Structures that differ in their sizes and literals alone, and one template for all of them.
//
// A key without its sizes of 2 and more and without the values of its literals is a *skeleton*.
// Where a second structure with the same skeleton is met, extents of inputs that differ become
// symbols, and every other size that differs an expression of these, which is sought by what it
// is in the structures met so far; a size that has none is a symbol too. A literal that differs
// becomes an input. What was found need not be true: a template serves a structure only if each
// expression is what the structure has in that place. So a wrong one costs a template, never a
// result.

#include "base/shape_env.h"
#include "base/size_program.h"
#include "tensor/evaluate.h"
#include "tensor/structure.h"

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace coregrad {

struct Plan;
struct PlanTemplate;

/// What a structure has of its own.
struct OwnValues {
  std::vector<int64_t> sizes, literals;
};

/// A key as what structures of one family share, and the rest.
struct SplitKey {
  explicit SplitKey(std::span<const int64_t> key);

  std::vector<int64_t> skeleton;
  std::vector<size_t> size_places, literal_places;  ///< in the key, ascending
  OwnValues values;                                 ///< what stands there
};

/// What the sizes of a family's members are, as far as its members tell.
struct GeneralSizes {
  std::shared_ptr<ShapeEnv> env = std::make_shared<ShapeEnv>();
  std::vector<SymInt> sizes;            ///< one for each of OwnValues::sizes
  std::vector<size_t> symbols;          ///< of each symbol, the size that gives its value
  std::vector<size_t> varied_literals;  ///< of OwnValues::literals
};
/// `members` are two or more, of which the last is that of the key; its sizes are the symbols'
/// hints.
GeneralSizes generalize(std::span<const int64_t> key, const SplitKey& split,
                        std::span<const OwnValues> members);

/// A plan for all members of a family that it turns out to serve. Safe for many threads.
class StructureTemplate {
 public:
  /// Compiles for sizes like those of this structure.
  StructureTemplate(const Structure& structure, const SplitKey& split, GeneralSizes general);

  /// Null where this is none of those that it serves.
  std::shared_ptr<const Executable> executable_for(const OwnValues& values) const;

 private:
  struct Bound {
    std::vector<int64_t> symbols;
    std::shared_ptr<const Plan> plan;
    std::vector<KeptValue> kept;
  };

  Bound bound_for(std::vector<int64_t> symbols, std::span<const int64_t> kept_sizes) const;

  GeneralSizes general_;
  std::vector<int64_t> literals_;      ///< of the structure that it was made from
  std::vector<DType> literal_dtypes_;  ///< one for each of general_.varied_literals
  std::vector<KeptValue> kept_;        ///< for the hints
  SizeProgram sizes_;                  ///< general_.sizes, then the shapes of kept_
  std::shared_ptr<const Plan> plan_;   ///< where only literals differ
  std::shared_ptr<const PlanTemplate> template_;
  mutable std::mutex mutex_;
  mutable std::vector<Bound> bound_;  ///< the one used last is the last
};

}  // namespace coregrad
