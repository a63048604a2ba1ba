#include "base/size_program.h"

#include "base/checked.h"

#include <algorithm>
#include <map>

namespace coregrad {

/// Gives each expression and atom one register.
class SizeProgramWriter {
 public:
  SizeProgramWriter(SizeProgram& program, const ShapeEnv* env) : program_(program), env_(env) {}

  // Constants get their final places when all of them are known.
  static constexpr uint32_t kConstant = uint32_t{1} << 31;

  uint32_t constant(int64_t value) {
    program_.constants_.push_back(value);
    return static_cast<uint32_t>(program_.constants_.size() - 1) | kConstant;
  }

  uint32_t size(SymInt x) {
    if (x.is_number()) return constant(x.number());
    if (const auto at = sizes_.find(x.bits()); at != sizes_.end()) return at->second;
    std::optional<uint32_t> sum;
    for (const SizeTerm& t : x.expr().terms) {
      std::optional<uint32_t> product;
      if (t.factor != 1 || t.atoms.empty()) product = constant(t.factor);
      for (const uint32_t number : t.atoms) {
        const uint32_t factor = atom(number);
        product = product ? emit({Code::Multiply}, *product, factor) : factor;
      }
      sum = sum ? emit({Code::Add}, *sum, *product) : product;
    }
    sizes_.emplace(x.bits(), *sum);
    return *sum;
  }

  /// Registers behind the symbols: constants, then instructions' results.
  uint32_t settled(uint32_t place) const {
    const auto constants = static_cast<uint32_t>(program_.constants_.size());
    if ((place & kConstant) != 0) return program_.num_symbols_ + (place & ~kConstant);
    return place < program_.num_symbols_ ? place : place + constants;
  }

 private:
  using Code = SizeProgram::Code;

  uint32_t atom(uint32_t number) {
    const SizeAtom a = env_->atom(number);
    if (a.kind == AtomOf::Symbol) return static_cast<uint32_t>(a.symbol);
    if (const auto at = atoms_.find(number); at != atoms_.end()) return at->second;
    const uint32_t left = size(a.a), right = size(a.b);
    return atoms_.emplace(number, emit({Code::Atom, a.kind}, left, right)).first->second;
  }

  uint32_t emit(SizeProgram::Instruction instruction, uint32_t a, uint32_t b) {
    instruction.a = a, instruction.b = b;
    program_.instructions_.push_back(instruction);
    return program_.num_symbols_ + static_cast<uint32_t>(program_.instructions_.size()) - 1;
  }

  SizeProgram& program_;
  const ShapeEnv* env_;
  std::map<int64_t, uint32_t> sizes_;
  std::map<uint32_t, uint32_t> atoms_;
};

SizeProgram::SizeProgram(SymInts sizes) {
  const auto symbolic = std::ranges::find_if(sizes, [](SymInt x) { return !x.is_number(); });
  const ShapeEnv* env = symbolic == sizes.end() ? nullptr : symbolic->expr().env;
  num_symbols_ = env ? static_cast<uint32_t>(env->num_symbols()) : 0;
  SizeProgramWriter writer(*this, env);
  for (const SymInt x : sizes) results_.push_back(writer.size(x));
  for (Instruction& i : instructions_) i.a = writer.settled(i.a), i.b = writer.settled(i.b);
  for (uint32_t& place : results_) place = writer.settled(place);
}

std::vector<int64_t> SizeProgram::run(std::span<const int64_t> symbols) const {
  COREGRAD_CHECK(symbols.size() >= num_symbols_);
  std::vector<int64_t> registers;
  registers.reserve(num_symbols_ + constants_.size() + instructions_.size());
  registers.assign(symbols.begin(), symbols.begin() + num_symbols_);
  registers.insert(registers.end(), constants_.begin(), constants_.end());
  for (const Instruction& i : instructions_) {
    const int64_t a = registers[i.a], b = registers[i.b];
    int64_t value = 0;
    switch (i.code) {
      case Code::Add:
        value = checked_add(a, b, "size");
        break;
      case Code::Multiply:
        value = checked_mul(a, b, "size");
        break;
      case Code::Atom:
        if (divides_by(i.kind) && b <= 0) raise<ShapeError>("size: {} divided by {}", a, b);
        value = value_of(i.kind, a, b);
        break;
    }
    registers.push_back(value);
  }
  std::vector<int64_t> values;
  values.reserve(results_.size());
  for (const uint32_t place : results_) values.push_back(registers[place]);
  return values;
}

}  // namespace coregrad
