// Map: forms (sums, products, quotients, extremes); decisions; values and text. Bounds are in
// shape_env_bounds.cpp.

#include "base/shape_env.h"

#include "base/checked.h"
#include "base/size_terms.h"

#include <algorithm>
#include <numeric>

namespace coregrad {
namespace {

bool holds(int64_t value, Sign sign) {
  switch (sign) {
    case Sign::Zero:
      return value == 0;
    case Sign::NotZero:
      return value != 0;
    case Sign::NotNegative:
      return value >= 0;
    case Sign::Negative:
      return value < 0;
  }
  COREGRAD_UNREACHABLE("sign");
}

Sign opposite(Sign sign) {
  switch (sign) {
    case Sign::Zero:
      return Sign::NotZero;
    case Sign::NotZero:
      return Sign::Zero;
    case Sign::NotNegative:
      return Sign::Negative;
    case Sign::Negative:
      return Sign::NotNegative;
  }
  COREGRAD_UNREACHABLE("sign");
}

std::string_view text_of(Sign sign) {
  switch (sign) {
    case Sign::Zero:
      return "= 0";
    case Sign::NotZero:
      return "!= 0";
    case Sign::NotNegative:
      return ">= 0";
    case Sign::Negative:
      return "< 0";
  }
  COREGRAD_UNREACHABLE("sign");
}

}  // namespace

int64_t value_of(AtomOf kind, int64_t a, int64_t b) {
  switch (kind) {
    case AtomOf::FloorDiv:
      return floor_div(a, b);
    case AtomOf::FloorMod:
      return floor_mod(a, b);
    case AtomOf::Max:
      return std::max(a, b);
    case AtomOf::Min:
      return std::min(a, b);
    case AtomOf::Symbol:
      break;
  }
  COREGRAD_UNREACHABLE("a symbol has no operands");
}

// Forms

ShapeEnv& ShapeEnv::of(SymInt a, SymInt b) {
  const SymInt one = a.is_number() ? b : a;
  ShapeEnv* env = one.expr().env;
  COREGRAD_CHECK(a.is_number() || b.is_number() || b.expr().env == env);
  return *env;
}

ShapeEnv::Terms ShapeEnv::terms_of(SymInt x) {
  if (!x.is_number()) return x.expr().terms;
  return x.number() == 0 ? Terms{} : Terms{{x.number(), {}}};
}

SymInt ShapeEnv::intern(Terms terms) {
  if (const std::optional<int64_t> number = number_in(terms)) return *number;
  std::vector<int64_t> key;
  int64_t hint = 0;
  for (const SizeTerm& t : terms) {
    key.push_back(t.factor);
    key.push_back(static_cast<int64_t>(t.atoms.size()));
    key.insert(key.end(), t.atoms.begin(), t.atoms.end());
    int64_t product = t.factor;
    for (const uint32_t atom : t.atoms) product = checked_mul(product, atoms_[atom].hint, "size");
    hint = checked_add(hint, product, "size");
  }
  const auto [place, is_new] = exprs_.try_emplace(std::move(key));
  if (is_new)
    place->second = {this, std::move(terms), hint, static_cast<uint32_t>(exprs_.size() - 1)};
  return SymInt(&place->second);
}

SymInt ShapeEnv::intern_atom(SizeAtom atom) {
  std::vector<int64_t> key{static_cast<int64_t>(atom.kind), atom.symbol, atom.a.bits(),
                           atom.b.bits()};
  const auto [place, is_new] =
      atom_index_.try_emplace(std::move(key), static_cast<uint32_t>(atoms_.size()));
  if (is_new) atoms_.push_back(std::move(atom));
  return intern({{1, {place->second}}});
}

SymInt ShapeEnv::symbol(std::string name, SizeBounds bounds, int64_t hint) {
  const std::scoped_lock lock(mutex_);
  if (bounds.low > hint || hint > bounds.high)
    raise<ValueError>("symbol: {} is not within {} and {}", hint, bounds.low, bounds.high);
  SizeAtom atom{AtomOf::Symbol, 0, 0, num_symbols(), hint, bounds};
  names_.push_back(std::move(name));
  given_.push_back(bounds);
  return intern_atom(std::move(atom));
}

size_t ShapeEnv::HashOfComputation::operator()(const Computation& c) const {
  const auto mix = [](size_t seed, int64_t x) {
    return (seed ^ static_cast<size_t>(x)) * 0x9e3779b97f4a7c15u;
  };
  return mix(mix(static_cast<size_t>(c.operation), c.a) >> 7, c.b);
}

template <class Compute>
SymInt ShapeEnv::once(Operation operation, SymInt a, SymInt b, Compute compute) {
  const std::scoped_lock lock(mutex_);
  const Computation what{operation, a.bits(), b.bits()};
  if (const auto known = results_.find(what); known != results_.end()) return known->second;
  const SymInt result = compute();
  results_.emplace(what, result);
  return result;
}

SymInt ShapeEnv::sum(SymInt a, SymInt b) {
  return once(Operation::Sum, a, b, [&] {
    Terms terms = terms_of(a);
    const Terms more = terms_of(b);
    terms.insert(terms.end(), more.begin(), more.end());
    return intern(in_form(std::move(terms)));
  });
}

SymInt ShapeEnv::product(SymInt a, SymInt b) {
  return once(Operation::Product, a, b, [&] {
    Terms terms;
    for (const SizeTerm& x : terms_of(a))
      for (const SizeTerm& y : terms_of(b)) terms.push_back(product_of(x, y));
    return intern(in_form(std::move(terms)));
  });
}

ShapeEnv::Parts ShapeEnv::divided(SymInt a, SymInt b) {
  Terms rest = terms_of(a), quotient, undivided;
  const Terms divisor = terms_of(b);
  const SizeTerm& lead = divisor[0];
  if (b.is_number()) {
    for (const SizeTerm& t : rest) {
      // What is left of a number is not negative.
      const int64_t q = t.atoms.empty() ? floor_div(t.factor, b.number()) : t.factor / b.number();
      quotient.push_back({q, t.atoms});
      undivided.push_back({t.factor - q * b.number(), t.atoms});
    }
  } else {
    while (!rest.empty()) {
      const SizeTerm first = rest[0];
      const std::optional<SizeTerm> q = quotient_of(first, lead);
      if (!q) {
        undivided.push_back(first);
        rest.erase(rest.begin());
        continue;
      }
      quotient.push_back(*q);
      for (const SizeTerm& d : divisor) {
        rest.push_back(product_of(*q, d));
        rest.back().factor = -rest.back().factor;
      }
      rest = in_form(std::move(rest));
    }
  }
  return {intern(in_form(std::move(quotient))), intern(in_form(std::move(undivided)))};
}

SymInt ShapeEnv::quotient(SymInt a, SymInt b, bool wants_rest) {
  return once(wants_rest ? Operation::Rest : Operation::Quotient, a, b,
              [&] { return new_quotient(a, b, wants_rest); });
}

SymInt ShapeEnv::new_quotient(SymInt a, SymInt b, bool wants_rest) {
  if (!(b >= 1)) raise<ShapeError>("size: {} divided by {}", text(a), text(b));
  if (b.is_identical(1)) return wants_rest ? SymInt(0) : a;
  const auto [whole, rest] = divided(a, b);
  if (rest.is_identical(0) || (low(rest) >= 0 && high(rest - b) < 0))
    return wants_rest ? rest : whole;
  if (high(rest) < 0 && low(rest + b) >= 0) return wants_rest ? rest + b : whole - 1;
  const int64_t common = std::gcd(content(terms_of(rest)), content(terms_of(b)));
  SymInt x = divided(rest, common).quotient, by = divided(b, common).quotient;
  if (!wants_rest && !x.is_number() && x.expr().terms.size() == 1) {
    const SizeTerm& t = x.expr().terms[0];
    const SizeAtom* inner = t.factor == 1 && t.atoms.size() == 1 ? &atoms_[t.atoms[0]] : nullptr;
    if (inner != nullptr && inner->kind == AtomOf::FloorDiv) {
      by = inner->b * by;
      x = inner->a;
    }
  }
  SizeAtom atom{wants_rest ? AtomOf::FloorMod : AtomOf::FloorDiv, x, by};
  atom.hint = value_of(atom.kind, x.hint(), by.hint());
  if (wants_rest) {
    atom.bounds = {0, bounded_sum(high(by), -1)};
    return product(intern_atom(std::move(atom)), common);
  }
  const int64_t least = std::max<int64_t>(low(by), 1), low_x = low(x), high_x = high(x);
  // A quotient lies between 0 and the dividend; small divisors make it largest.
  atom.bounds = {low_x == -kUnbounded ? low_x
                 : low_x >= 0         ? 0
                                      : floor_div(low_x, least),
                 high_x == kUnbounded ? high_x
                 : high_x < 0         ? -1
                                      : floor_div(high_x, least)};
  if (low_x >= 0 && high(by) < kUnbounded) atom.bounds.low = floor_div(low_x, high(by));
  return whole + intern_atom(std::move(atom));
}

bool ShapeEnv::divides(SymInt a, SymInt b) {
  const std::scoped_lock lock(mutex_);
  return !a.is_identical(0) && divided(b, a).rest.is_identical(0);
}

SymInt ShapeEnv::common(SymInt a, SymInt b) {
  const std::scoped_lock lock(mutex_);
  const Terms x = terms_of(a), y = terms_of(b);
  SizeTerm common{std::gcd(content(x), content(y)), x[0].atoms};
  for (const Terms* terms : {&x, &y})
    for (const SizeTerm& t : *terms) {
      std::vector<uint32_t> both;
      std::ranges::set_intersection(common.atoms, t.atoms, std::back_inserter(both));
      common.atoms = std::move(both);
    }
  return intern({std::move(common)});
}

SymInt ShapeEnv::extreme(SymInt a, SymInt b, AtomOf kind) {
  return once(kind == AtomOf::Max ? Operation::Max : Operation::Min, a, b,
              [&] { return new_extreme(a, b, kind); });
}

SymInt ShapeEnv::new_extreme(SymInt a, SymInt b, AtomOf kind) {
  const bool wants_max = kind == AtomOf::Max;
  if (low(a - b) >= 0) return wants_max ? a : b;
  if (low(b - a) >= 0) return wants_max ? b : a;
  if (SymInt::order(b, a) < 0) std::swap(a, b);
  SizeAtom atom{kind, a, b};
  const auto pick = [&](int64_t x, int64_t y) { return value_of(kind, x, y); };
  atom.hint = pick(a.hint(), b.hint());
  atom.bounds = {pick(low(a), low(b)), pick(high(a), high(b))};
  return intern_atom(std::move(atom));
}

// Decisions

std::optional<bool> ShapeEnv::proven(SymInt x, Sign sign) {
  if (x.is_number()) return holds(x.number(), sign);
  const std::scoped_lock lock(mutex_);
  SizeFacts::Answer& answer = x.expr().facts.signs[static_cast<size_t>(sign)];
  if (!answer.is_known && answer.sought_at != knowledge_) {
    const std::optional<bool> found = prove(x, sign);
    answer = {found.has_value(), found.value_or(false), knowledge_};
  }
  return answer.is_known ? std::optional(answer.holds) : std::nullopt;
}

std::optional<bool> ShapeEnv::prove(SymInt x, Sign sign) {
  auto [least, most] = bounds(x);
  bool is_zero = false, is_not_zero = false;
  for (const Guard& g : guards_) {
    const SymInt sums[] = {x - g.x, x + g.x};
    for (const bool turned : {false, true}) {
      // x is d more than g.x, or than -g.x.
      const SymInt d = sums[turned];
      if (!d.is_number()) continue;
      const int64_t more = d.number();
      const bool is_low = g.sign == (turned ? Sign::Negative : Sign::NotNegative);
      const bool is_high = g.sign == (turned ? Sign::NotNegative : Sign::Negative);
      if (is_low) least = std::max(least, more + (turned ? 1 : 0));
      if (is_high) most = std::min(most, more - (turned ? 0 : 1));
      is_zero = is_zero || (g.sign == Sign::Zero && more == 0);
      is_not_zero = is_not_zero || (more == 0 ? g.sign == Sign::NotZero : g.sign == Sign::Zero);
    }
  }
  is_zero = is_zero || (least == 0 && most == 0);
  is_not_zero = is_not_zero || least > 0 || most < 0;
  switch (sign) {
    case Sign::Zero:
    case Sign::NotZero:
      if (!is_zero && !is_not_zero) return {};
      return is_zero == (sign == Sign::Zero);
    case Sign::NotNegative:
    case Sign::Negative:
      if (least < 0 && most >= 0 && !is_zero) return {};
      return (is_zero || least >= 0) == (sign == Sign::NotNegative);
  }
  COREGRAD_UNREACHABLE("sign");
}

bool ShapeEnv::decided(SymInt x, Sign sign) {
  const std::scoped_lock lock(mutex_);
  if (const std::optional<bool> known = proven(x, sign)) return *known;
  if (is_closed_) raise<InternalError>("sizes: {} was asked for after compiling", text(x));
  const bool outcome = holds(x.hint(), sign);
  narrow(x, outcome ? sign : opposite(sign));
  return outcome;
}

void ShapeEnv::narrow(SymInt x, Sign sign) {
  ++knowledge_;
  const Terms& terms = x.expr().terms;
  const bool is_linear = terms.size() <= 2 && terms[0].atoms.size() == 1 &&
                         (terms.size() == 1 || terms[1].atoms.empty());
  SizeAtom* atom = is_linear ? &atoms_[terms[0].atoms[0]] : nullptr;
  if (atom == nullptr || atom->kind != AtomOf::Symbol || sign == Sign::NotZero) {
    guards_.push_back({x, sign});
    return;
  }
  // factor * atom + constant, whose sign is a bound of the symbol: f * s >= -c.
  int64_t f = terms[0].factor, c = terms.size() == 2 ? terms[1].factor : 0;
  if (sign == Sign::Zero) {
    atom->bounds = {-c / f, -c / f};
    return;
  }
  if (sign == Sign::Negative) {
    f = -f;
    c = -c - 1;
  }
  if (f > 0)
    atom->bounds.low = std::max(atom->bounds.low, -floor_div(c, f));
  else
    atom->bounds.high = std::min(atom->bounds.high, floor_div(c, -f));
}

// Values and text

int64_t ShapeEnv::evaluate(SymInt x, std::span<const int64_t> values) const {
  if (x.is_number()) return x.number();
  const std::scoped_lock lock(mutex_);
  int64_t total = 0;
  for (const SizeTerm& t : x.expr().terms) {
    int64_t product = t.factor;
    for (const uint32_t number : t.atoms) {
      const SizeAtom& atom = atoms_[number];
      int64_t value;
      if (atom.kind == AtomOf::Symbol) {
        value = values[static_cast<size_t>(atom.symbol)];
      } else {
        const int64_t a = evaluate(atom.a, values), b = evaluate(atom.b, values);
        // A guard says that divisors are positive; it may come behind the one that is looked at.
        value = divides_by(atom.kind) && b <= 0 ? 0 : value_of(atom.kind, a, b);
      }
      product = checked_mul(product, value, "size");
    }
    total = checked_add(total, product, "size");
  }
  return total;
}

std::string ShapeEnv::refusal(std::span<const int64_t> values) const {
  const std::scoped_lock lock(mutex_);
  COREGRAD_CHECK(values.size() == names_.size());
  for (const SizeAtom& atom : atoms_) {
    if (atom.kind != AtomOf::Symbol) continue;
    const int64_t value = values[static_cast<size_t>(atom.symbol)];
    if (value < atom.bounds.low || value > atom.bounds.high)
      return fmt::format("{} = {} is not within {} and {}", name(atom.symbol), value,
                         atom.bounds.low, atom.bounds.high);
  }
  for (const Guard& g : guards_)
    if (!holds(evaluate(g.x, values), g.sign))
      return fmt::format("{} {} does not hold", text(g.x), text_of(g.sign));
  return {};
}

bool ShapeEnv::admits(std::span<const int64_t> values) const { return refusal(values).empty(); }

std::vector<std::string> ShapeEnv::guards() const {
  const std::scoped_lock lock(mutex_);
  std::vector<std::string> lines;
  for (const SizeAtom& atom : atoms_) {
    if (atom.kind != AtomOf::Symbol) continue;
    const SizeBounds& given = given_[static_cast<size_t>(atom.symbol)];
    if (atom.bounds.low > given.low)
      lines.push_back(fmt::format("{} >= {}", name(atom.symbol), atom.bounds.low));
    if (atom.bounds.high < given.high)
      lines.push_back(fmt::format("{} <= {}", name(atom.symbol), atom.bounds.high));
  }
  for (const Guard& g : guards_) lines.push_back(fmt::format("{} {}", text(g.x), text_of(g.sign)));
  return lines;
}

std::string ShapeEnv::to_text(SymInt x) const {
  const std::scoped_lock lock(mutex_);
  return text(x);
}

std::string ShapeEnv::text(SymInt x) const {
  if (x.is_number()) return std::to_string(x.number());
  std::string line;
  for (const SizeTerm& t : x.expr().terms) {
    const bool is_negative = t.factor < 0;
    if (!line.empty()) line += is_negative ? " - " : " + ";
    if (line.empty() && is_negative) line += "-";
    const int64_t size = std::abs(t.factor);
    std::string_view separator;
    if (size != 1 || t.atoms.empty()) {
      line += std::to_string(size);
      separator = "*";
    }
    for (const uint32_t atom : t.atoms) {
      line += separator;
      line += atom_text(atom);
      separator = "*";
    }
  }
  return line;
}

std::string ShapeEnv::atom_text(uint32_t number) const {
  const SizeAtom& atom = atoms_[number];
  const std::string a = text(atom.a), b = text(atom.b);
  switch (atom.kind) {
    case AtomOf::Symbol:
      return names_[static_cast<size_t>(atom.symbol)];
    case AtomOf::FloorDiv:
      return fmt::format("(({}) // ({}))", a, b);
    case AtomOf::FloorMod:
      return fmt::format("(({}) % ({}))", a, b);
    case AtomOf::Max:
      return fmt::format("max({}, {})", a, b);
    case AtomOf::Min:
      return fmt::format("min({}, {})", a, b);
  }
  COREGRAD_UNREACHABLE("atom");
}

}  // namespace coregrad
