#pragma once
// Many sizes of one environment as a straight line of integer instructions: what a set of sizes
// costs when it is met first.

#include "base/shape_env.h"

#include <cstdint>
#include <span>
#include <vector>

namespace coregrad {

class SizeProgram {
 public:
  SizeProgram() = default;
  /// Of sizes that outlive nothing: numbers and instructions are copied.
  explicit SizeProgram(SymInts sizes);

  /// The sizes, in order, where symbols have these values (by number). ShapeError where one
  /// overflows or a divisor is not positive.
  std::vector<int64_t> run(std::span<const int64_t> symbols) const;
  size_t num_instructions() const { return instructions_.size(); }

 private:
  friend class SizeProgramWriter;
  enum class Code : uint8_t { Add, Multiply, Atom };
  struct Instruction {
    Code code;
    AtomOf kind = AtomOf::Symbol;  ///< of an atom
    uint32_t a = 0, b = 0;         ///< registers; the result goes to the next free one
  };

  // Registers: symbols, constants, results of instructions.
  uint32_t num_symbols_ = 0;
  std::vector<int64_t> constants_;
  std::vector<Instruction> instructions_;
  std::vector<uint32_t> results_;
};

}  // namespace coregrad
