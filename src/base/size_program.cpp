#include "base/size_program.h"

#include "base/checked.h"
#include "base/shape_env.h"

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
    const auto [at, is_new] = constants_.try_emplace(
        value, static_cast<uint32_t>(program_.constants_.size()) | kConstant);
    if (is_new) program_.constants_.push_back(value);
    return at->second;
  }

  uint32_t size(SymInt x) {
    if (x.is_number()) return constant(x.number());
    if (const auto at = sizes_.find(x.bits()); at != sizes_.end()) return at->second;
    std::optional<uint32_t> sum;
    for (const SizeTerm& t : x.expr().terms) {
      uint32_t product = constant(t.factor);
      for (size_t i = 0; i < t.atoms.size(); ++i) {
        const uint32_t factor = atom(t.atoms[i]);
        product = i == 0 && t.factor == 1 ? factor : emit(Code::Multiply, product, factor);
      }
      sum = sum ? emit(Code::Add, *sum, product) : product;
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
    const Code code = a.kind == AtomOf::FloorDiv   ? Code::FloorDiv
                      : a.kind == AtomOf::FloorMod ? Code::FloorMod
                      : a.kind == AtomOf::Max      ? Code::Max
                                                   : Code::Min;
    return atoms_.emplace(number, emit(code, left, right)).first->second;
  }

  uint32_t emit(Code code, uint32_t a, uint32_t b) {
    program_.instructions_.push_back({code, a, b});
    return program_.num_symbols_ + static_cast<uint32_t>(program_.instructions_.size()) - 1;
  }

  SizeProgram& program_;
  const ShapeEnv* env_;
  std::map<int64_t, uint32_t> constants_, sizes_;
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
      case Code::FloorDiv:
      case Code::FloorMod:
        if (b <= 0) raise<ShapeError>("size: {} divided by {}", a, b);
        value = i.code == Code::FloorDiv ? floor_div(a, b) : floor_mod(a, b);
        break;
      case Code::Max:
        value = std::max(a, b);
        break;
      case Code::Min:
        value = std::min(a, b);
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
