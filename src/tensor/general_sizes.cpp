// What the sizes of a structure are in terms of its inputs' sizes, told by several of its kind.

#include "base/error.h"
#include "ir/contract.h"
#include "tensor/structure_family.h"

#include <algorithm>
#include <map>

namespace coregrad {
namespace {

/// A size in each of the members.
using Values = std::vector<int64_t>;

bool is_constant(const Values& v) {
  return std::ranges::all_of(v, [&](int64_t x) { return x == v[0]; });
}

/// An expression, and what it is in the members.
struct Term {
  Values values;
  SymInt size;
};

Values product(const Values& a, const Values& b) {
  Values c = a;
  // Sizes of tensors that exist: a product that would overflow fits nothing.
  for (size_t i = 0; i < c.size(); ++i)
    if (__builtin_mul_overflow(a[i], b[i], &c[i])) c[i] = -1;
  return c;
}

/// `target` as (term + c) / divisor, rounded down, if one c does. `wanted` is taken where it does.
std::optional<SymInt> as_quotient(const Values& target, const Term& term, int64_t divisor,
                                  std::optional<int64_t> wanted = std::nullopt) {
  int64_t low = INT64_MIN, high = INT64_MAX;
  for (size_t i = 0; i < target.size(); ++i) {
    low = std::max(low, divisor * target[i] - term.values[i]);
    high = std::min(high, divisor * (target[i] + 1) - 1 - term.values[i]);
  }
  if (low > high) return std::nullopt;
  // Otherwise as little as can be: an extent that is rounded down as it is, or rounded up.
  const int64_t c =
      wanted && low <= *wanted && *wanted <= high ? *wanted : std::clamp<int64_t>(0, low, high);
  return floor_div(term.size + c, divisor);
}

/// Finds expressions for sizes, in the order of a key: what came before is what they are made of.
class Finder {
 public:
  Finder(std::span<const int64_t> key, const SplitKey& split, std::span<const OwnValues> members)
      : key_(key), split_(split), members_(members) {}

  GeneralSizes find() {
    found_.sizes.resize(split_.size_places.size());
    for (size_t i = 0; i < split_.size_places.size(); ++i) place_of_[split_.size_places[i]] = i;
    for (KeyReader reader(key_); nodes_.size() < static_cast<size_t>(reader.num_nodes());)
      nodes_.push_back(reader.next_node());
    shapes_.resize(nodes_.size());
    name_inputs();
    // What is made of nothing has the sizes of what it meets: that comes first.
    const std::vector<bool> reads = mark_readers();
    for (const bool reading : {true, false})
      for (size_t i = 0; i < nodes_.size(); ++i)
        if (reads[i] == reading) add_node(i);
    for (size_t i = 0; i < split_.literal_places.size(); ++i) {
      Values literals;
      for (const OwnValues& m : members_) literals.push_back(m.literals[i]);
      if (!is_constant(literals)) found_.varied_literals.push_back(i);
    }
    return std::move(found_);
  }

 private:
  /// Every extent of an input that differs is a symbol: one for all that have its values.
  void name_inputs() {
    for (const KeyNode& n : nodes_) {
      if (n.op != Op::Input) continue;
      for (size_t d = 0; d < n.rank; ++d) {
        const Values values = values_at(n.shape + d);
        if (!is_constant(values) && !known(values)) learn({values, new_symbol(n.shape + d)});
      }
    }
  }

  /// The nodes that inputs with dimensions lead to.
  std::vector<bool> mark_readers() const {
    std::vector<bool> reads(nodes_.size());
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const KeyNode& n = nodes_[i];
      reads[i] = n.op == Op::Input && n.rank > 0;
      for (size_t k = 0; k < n.num_operands; ++k) reads[i] = reads[i] || reads[operand(n, k)];
    }
    return reads;
  }
  size_t operand(const KeyNode& n, size_t k) const {
    return static_cast<size_t>(key_[n.operands + k]);
  }

  SymInt new_symbol(size_t place) {
    const std::string name = "n" + std::to_string(found_.symbols.size());
    found_.symbols.push_back(place_of_.at(place));
    return found_.env->symbol(name, {2, kUnbounded}, values_at(place).back());
  }

  void add_node(size_t number) {
    const KeyNode& n = nodes_[number];
    near_.clear();
    for (size_t k = 0; k < n.num_operands; ++k) {
      const std::vector<Term>& shape = shapes_[operand(n, k)];
      near_.insert(near_.end(), shape.begin(), shape.end());
    }
    if (n.op == Op::Reshape) add_reshaped(n);
    if (n.op == Op::Input) add_strides(n);
    // Attributes first: a shape may be made of them.
    for (const bool in_shape : {false, true})
      for_each_size(key_, n, [&](size_t place) {
        if ((place - n.shape < n.rank) != in_shape || is_set_.contains(place)) return;
        const Values values = values_at(place);
        const std::optional<SymInt> size = find_size(n, values);
        // What has nothing to do with other sizes, as far as can be seen, is given with the key.
        set(place, {values, size ? *size : new_symbol(place)});
      });
    for (size_t d = 0; d < n.rank; ++d)
      shapes_[number].push_back({values_at(n.shape + d), is_set_.at(n.shape + d)});
  }

  /// Strides of an input that are products of its extents, as they are where it is row-major.
  void add_strides(const KeyNode& n) {
    Term stride{Values(members_.size(), 1), 1};
    for (size_t d = n.rank; d-- > 0 && n.num_attrs > 1;) {
      const size_t place = n.attrs + 1 + d;
      if (values_at(place) != stride.values) return;
      set(place, stride);
      const Values extent = values_at(n.shape + d);
      stride = {product(stride.values, extent), stride.size * *exactly(extent)};
    }
  }

  /// The parts of a reshape whose products agree: one unknown extent of each is what is left of it.
  void add_reshaped(const KeyNode& n) {
    size_t in = 0, out = 0;
    while (out < n.rank) {
      const Values one(members_.size(), 1);
      Term all{one, 1}, rest{one, 1};
      std::optional<size_t> unknown;
      const auto take_in = [&] {
        all = {product(all.values, near_[in].values), all.size * near_[in].size};
        ++in;
      };
      Values made = one;
      do {
        const size_t place = n.shape + out++;
        const Values values = values_at(place);
        made = product(made, values);
        const std::optional<SymInt> size = exactly(values);
        if (!size && unknown) return;  // the general way may know
        if (size)
          rest.size = rest.size * *size;
        else
          unknown = place;
        if (size) set(place, {values, *size});
        while (in < near_.size() && (all.values[0] < made[0] || all.values == one)) take_in();
      } while (made != all.values && out < n.rank);
      while (in < near_.size() && made != all.values) take_in();
      if (made != all.values) return;
      if (unknown) set(*unknown, {values_at(*unknown), all.size / rest.size});
    }
  }

  std::optional<SymInt> find_size(const KeyNode& n, const Values& values) const {
    if (const std::optional<SymInt> size = exactly(values)) return size;
    if (n.op == Op::Concat)
      if (const std::optional<SymInt> size = sum_of_parts(n, values)) return size;
    if (n.op == Op::Window || n.op == Op::Slice || n.op == Op::Contract)
      for (const Term& term : near_)
        for (const auto& [divisor, wanted] : divisors(n))
          if (const auto size = as_quotient(values, term, divisor, wanted)) return size;
    if (n.num_operands == 0 || n.op == Op::Expand || n.op == Op::Random) return std::nullopt;
    return of_known(values);
  }

  /// A number, a size of an operand or any that is known, with these values.
  std::optional<SymInt> exactly(const Values& values) const {
    if (is_constant(values)) return values[0];
    for (const Term& term : near_)
      if (term.values == values) return term.size;
    return known(values);
  }

  std::optional<SymInt> sum_of_parts(const KeyNode& n, const Values& values) const {
    if (near_.size() != n.num_operands * n.rank) return std::nullopt;
    Term sum{Values(members_.size(), 0), 0};
    const auto dim = static_cast<size_t>(key_[n.attrs]);
    for (size_t k = 0; k < n.num_operands; ++k) {
      const Term& part = near_[k * n.rank + dim];
      for (size_t i = 0; i < sum.values.size(); ++i) sum.values[i] += part.values[i];
      sum.size += part.size;
    }
    if (sum.values != values) return std::nullopt;
    return sum.size;
  }

  /// What an extent may have been divided by, and the number that was added before.
  std::vector<std::pair<int64_t, std::optional<int64_t>>> divisors(const KeyNode& n) const {
    std::vector<std::pair<int64_t, std::optional<int64_t>>> result;
    const std::span<const int64_t> attrs = key_.subspan(n.attrs, n.num_attrs);
    if (n.op == Op::Slice)
      for (size_t i = 0; i < attrs.size(); i += 2)
        result.emplace_back(attrs[i + 1], attrs[i + 1] - 1 - attrs[i]);
    if (n.op == Op::Window)
      for (size_t i = 0; i < attrs.size(); i += 4)
        result.emplace_back(attrs[i + 2], attrs[i + 2] - 1 - (attrs[i + 1] - 1) * attrs[i + 3]);
    if (n.op == Op::Contract) {
      const ContractSpec spec = ContractSpec::decode(SymInts(attrs));
      for (const std::vector<DimMap>* maps : {&spec.lhs, &spec.rhs})
        for (const DimMap& m : *maps)
          if (m.a.number() > 0) {
            const int64_t reach = m.v < 0 ? 0 : m.b.number() * (spec.extents[m.v].number() - 1);
            // Padding is the same on both sides as a rule.
            result.emplace_back(m.a.number(), m.a.number() - 1 - reach - 2 * m.c.number());
          }
    }
    return result;
  }

  /// Sums, products and quotients of what is known, what occurs most first. Two members tell too
  /// little for what is rare: much would fit.
  std::optional<SymInt> of_known(const Values& values) const {
    std::vector<const Term*> terms;
    for (const std::vector<Term>* list : {&near_, &learnt_})
      for (const Term& term : *list)
        if (!is_constant(term.values)) terms.push_back(&term);
    for (const Term* term : terms) {
      if (const auto size = as_quotient(values, *term, 1)) return size;
      if (const auto size = as_multiple(values, *term); size && is_multiple(*size, term->size))
        return size;
    }
    for (const Term* a : terms)
      for (const Term* b : terms) {
        Values sum = a->values, difference = a->values;
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += b->values[i];
        for (size_t i = 0; i < sum.size(); ++i) difference[i] -= b->values[i];
        if (product(a->values, b->values) == values) return a->size * b->size;
        if (const auto size = as_quotient(values, {sum, a->size + b->size}, 1)) return size;
        if (const auto size = as_quotient(values, {difference, a->size - b->size}, 1)) return size;
      }
    if (members_.size() == 2) return std::nullopt;
    for (const Term* term : terms) {
      if (const auto size = as_multiple(values, *term)) return size;
      for (int64_t divisor = 2; divisor <= 8; ++divisor)
        if (const auto size = as_quotient(values, *term, divisor)) return size;
    }
    return std::nullopt;
  }

  /// factor * term + c.
  static std::optional<SymInt> as_multiple(const Values& values, const Term& term) {
    const Values& x = term.values;
    size_t other = 1;
    while (x[other] == x[0]) ++other;
    const int64_t run = x[other] - x[0], rise = values[other] - values[0];
    if (rise % run != 0) return std::nullopt;
    const int64_t factor = rise / run, c = values[0] - factor * x[0];
    for (size_t i = 0; i < x.size(); ++i)
      if (values[i] != factor * x[i] + c) return std::nullopt;
    return term.size * factor + c;
  }

  std::optional<SymInt> known(const Values& values) const {
    const auto at = known_.find(values);
    return at == known_.end() ? std::nullopt : std::optional(at->second);
  }
  void learn(Term term) {
    if (known_.try_emplace(term.values, term.size).second) learnt_.push_back(std::move(term));
  }
  void set(size_t place, Term term) {
    is_set_[place] = term.size;
    if (const auto at = place_of_.find(place); at != place_of_.end())
      found_.sizes[at->second] = term.size;
    if (!is_constant(term.values)) learn(std::move(term));
  }
  /// A 0 or 1 is the same in all members.
  Values values_at(size_t place) const {
    const auto at = place_of_.find(place);
    if (at == place_of_.end()) return Values(members_.size(), key_[place]);
    Values values;
    for (const OwnValues& m : members_) values.push_back(m.sizes[at->second]);
    return values;
  }

  std::span<const int64_t> key_;
  const SplitKey& split_;
  std::span<const OwnValues> members_;
  std::vector<KeyNode> nodes_;
  GeneralSizes found_;
  std::map<size_t, size_t> place_of_;  // in the key -> of OwnValues::sizes
  std::map<size_t, SymInt> is_set_;
  std::map<Values, SymInt> known_;
  std::vector<Term> learnt_;               // known_, in the order in which it came
  std::vector<Term> near_;                 // the extents of a node's operands, where they are known
  std::vector<std::vector<Term>> shapes_;  // by number of the node
};

}  // namespace

GeneralSizes generalize(std::span<const int64_t> key, const SplitKey& split,
                        std::span<const OwnValues> members) {
  return Finder(key, split, members).find();
}

}  // namespace coregrad
