#include "kernel/index_expr.h"

#include "base/checked.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace coregrad {

bool has_symbols(SymInts sizes) {
  return !std::ranges::all_of(sizes, [](SymInt x) { return x.is_number(); });
}

std::strong_ordering IndexExpr::operator<=>(const IndexExpr& other) const {
  if (const auto c = SymInt::order(constant, other.constant); c != 0) return c;
  for (size_t i = 0; i < terms.size() && i < other.terms.size(); ++i) {
    if (const auto c = terms[i].atom <=> other.terms[i].atom; c != 0) return c;
    if (const auto c = SymInt::order(terms[i].factor, other.terms[i].factor); c != 0) return c;
  }
  return terms.size() <=> other.terms.size();
}

namespace {

/// One atom and nothing else.
bool is_atom(const IndexExpr& e) {
  return e.constant.is_identical(0) && e.terms.size() == 1 && e.terms[0].factor.is_identical(1);
}

}  // namespace

AtomId IndexContext::intern(Atom atom) {
  for (uint32_t i = 0; i < atoms_.size(); ++i) {
    const Atom& a = atoms_[i];
    if (a.kind == atom.kind && a.id == atom.id && a.divisor.is_identical(atom.divisor) &&
        a.operand == atom.operand)
      return {i};
  }
  atoms_.push_back(std::move(atom));
  return {static_cast<uint32_t>(atoms_.size() - 1)};
}

IndexExpr IndexContext::axis(int id, SymInt extent) {
  if (extent.is_number() && extent.number() <= 1) return constant(0);
  return {0, {{intern({AtomKind::Axis, id, 0, {}, {0, extent - 1}}), 1}}};
}

IndexExpr IndexContext::value(int id, Range range) {
  return {0, {{intern({AtomKind::Value, id, 0, {}, range}), 1}}};
}

bool IndexContext::is_quotient_of(const Atom& div, const Atom& mod) const {
  if (div.kind != AtomKind::Div) return false;
  if (div.divisor.is_identical(mod.divisor) && div.operand == mod.operand) return true;
  // Nested divisions are kept as one: floor(floor(e / c) / d) belongs to floor(e / c) mod d.
  const IndexExpr& inside = mod.operand;
  if (!is_atom(inside)) return false;
  const Atom& inner = atom(inside.terms[0].atom);
  return inner.kind == AtomKind::Div && inner.operand == div.operand &&
         div.divisor.is_identical(inner.divisor * mod.divisor);
}

IndexExpr IndexContext::add(const IndexExpr& a, const IndexExpr& b) const {
  IndexExpr sum;
  sum.constant = checked_add(a.constant, b.constant, "index");
  auto i = a.terms.begin();
  auto j = b.terms.begin();
  while (i != a.terms.end() || j != b.terms.end()) {
    if (j == b.terms.end() || (i != a.terms.end() && i->atom < j->atom)) {
      sum.terms.push_back(*i++);
    } else if (i == a.terms.end() || j->atom < i->atom) {
      sum.terms.push_back(*j++);
    } else {
      const SymInt factor = checked_add(i->factor, j->factor, "index");
      if (!factor.is_identical(0)) sum.terms.push_back({i->atom, factor});
      ++i, ++j;
    }
  }
  // d * floor(e / d) + (e mod d) = e, which undoes a split that was merged again.
  for (size_t m = 0; m < sum.terms.size(); ++m) {
    const Atom& mod = atom(sum.terms[m].atom);
    if (mod.kind != AtomKind::Mod) continue;
    for (size_t d = 0; d < sum.terms.size(); ++d) {
      const Atom& div = atom(sum.terms[d].atom);
      if (!sum.terms[d].factor.is_identical(mod.divisor * sum.terms[m].factor) ||
          !is_quotient_of(div, mod))
        continue;
      IndexExpr whole = mul(mod.operand, sum.terms[m].factor);
      IndexExpr rest{sum.constant, {}};
      for (size_t k = 0; k < sum.terms.size(); ++k)
        if (k != m && k != d) rest.terms.push_back(sum.terms[k]);
      return add(rest, whole);
    }
  }
  return sum;
}

IndexExpr IndexContext::mul(const IndexExpr& a, SymInt factor) const {
  if (factor.is_identical(0)) return constant(0);
  IndexExpr product = a;
  product.constant = checked_mul(a.constant, factor, "index");
  for (auto& t : product.terms) t.factor = checked_mul(t.factor, factor, "index");
  return product;
}

Range IndexContext::range(const IndexExpr& e) const {
  Range r{e.constant, e.constant};
  for (const auto& t : e.terms) {
    const Range inner = atom(t.atom).range;
    const SymInt low = checked_mul(inner.low, t.factor, "index"),
                 high = checked_mul(inner.high, t.factor, "index");
    r.low = checked_add(r.low, t.factor >= 0 ? low : high, "index");
    r.high = checked_add(r.high, t.factor >= 0 ? high : low, "index");
  }
  return r;
}

SymInt IndexContext::split_by_factor(const IndexExpr& e, SymInt d, IndexExpr* high,
                                     IndexExpr* low) const {
  SymInt best = 1;
  for (const auto& candidate : e.terms) {
    const SymInt g = common_divisor(d, candidate.factor);
    if (g.hint() <= best.hint()) continue;
    IndexExpr multiples = constant(0), rest = constant(e.constant);
    for (const auto& t : e.terms) {
      if (is_multiple(t.factor, g))
        multiples.terms.push_back({t.atom, floor_div(t.factor, g)});
      else
        rest.terms.push_back(t);
    }
    const Range r = range(rest);
    const SymInt k = floor_div(r.low, g);
    if (!SymInt::are_equal(k, floor_div(r.high, g))) continue;
    best = g;
    multiples.constant = k;
    *high = std::move(multiples);
    *low = add(rest, constant(checked_mul(-k, g, "index")));
  }
  return best;
}

IndexExpr IndexContext::div(const IndexExpr& a, SymInt d) {
  COREGRAD_CHECK(d > 0);
  if (d.is_identical(1)) return a;
  // Whole multiples of d leave the division.
  IndexExpr whole = constant(floor_div(a.constant, d));
  IndexExpr rest = constant(floor_mod(a.constant, d));
  for (const auto& t : a.terms) {
    if (is_multiple(t.factor, d))
      whole.terms.push_back({t.atom, floor_div(t.factor, d)});
    else
      rest.terms.push_back(t);
  }
  const Range r = range(rest);
  if (SymInt::are_equal(floor_div(r.low, d), floor_div(r.high, d))) {
    whole.constant = checked_add(whole.constant, floor_div(r.low, d), "index");
    return whole;
  }
  IndexExpr high, low;
  if (const SymInt g = split_by_factor(rest, d, &high, &low); !g.is_identical(1))
    return add(whole, div(high, floor_div(d, g)));
  // floor(floor(e / c) / d) = floor(e / (c*d)).
  if (is_atom(rest)) {
    const Atom inner = atom(rest.terms[0].atom);
    if (inner.kind == AtomKind::Div)
      return add(whole, div(inner.operand, checked_mul(inner.divisor, d, "index")));
  }
  Atom quotient{AtomKind::Div, 0, d, rest, {floor_div(r.low, d), floor_div(r.high, d)}};
  return add(whole, {0, {{intern(std::move(quotient)), 1}}});
}

IndexExpr IndexContext::mod(const IndexExpr& a, SymInt d) {
  COREGRAD_CHECK(d > 0);
  if (d.is_identical(1)) return constant(0);
  IndexExpr rest = constant(floor_mod(a.constant, d));
  for (const auto& t : a.terms)
    if (!is_multiple(t.factor, d)) rest.terms.push_back(t);
  const Range r = range(rest);
  if (SymInt::are_equal(floor_div(r.low, d), floor_div(r.high, d)))
    return add(rest, constant(checked_mul(-floor_div(r.low, d), d, "index")));
  IndexExpr high, low;
  if (const SymInt g = split_by_factor(rest, d, &high, &low); !g.is_identical(1))
    return add(mul(mod(high, floor_div(d, g)), g), low);
  // (e mod c) mod d = e mod d where d divides c.
  if (is_atom(rest)) {
    const Atom inner = atom(rest.terms[0].atom);
    if (inner.kind == AtomKind::Mod && is_multiple(inner.divisor, d)) return mod(inner.operand, d);
  }
  Atom remainder{AtomKind::Mod, 0, d, rest, {0, d - 1}};
  return {0, {{intern(std::move(remainder)), 1}}};
}

void IndexContext::collect(const IndexExpr& e, std::vector<int>& axes,
                           std::vector<int>& values) const {
  for (const auto& t : e.terms) {
    const Atom& a = atom(t.atom);
    switch (a.kind) {
      case AtomKind::Axis:
        if (std::find(axes.begin(), axes.end(), a.id) == axes.end()) axes.push_back(a.id);
        break;
      case AtomKind::Value:
        if (std::find(values.begin(), values.end(), a.id) == values.end()) values.push_back(a.id);
        break;
      case AtomKind::Div:
      case AtomKind::Mod:
        collect(a.operand, axes, values);
        break;
    }
  }
}

bool IndexContext::depends_on_axis(const IndexExpr& e, int axis) const {
  std::vector<int> axes, values;
  collect(e, axes, values);
  return std::find(axes.begin(), axes.end(), axis) != axes.end();
}

bool IndexContext::has_symbols(const IndexExpr& e) const {
  return !e.constant.is_number() || std::ranges::any_of(e.terms, [&](const IndexExpr::Term& t) {
    const Atom& a = atom(t.atom);
    return !t.factor.is_number() || !a.divisor.is_number() || has_symbols(a.operand);
  });
}

bool IndexContext::affine_in(const IndexExpr& e, int axis, SymInt* factor) const {
  *factor = 0;
  for (const auto& t : e.terms) {
    const Atom& a = atom(t.atom);
    if (a.kind == AtomKind::Axis && a.id == axis)
      *factor = t.factor;
    else if ((a.kind == AtomKind::Div || a.kind == AtomKind::Mod) &&
             depends_on_axis(a.operand, axis))
      return false;
  }
  return true;
}

IndexExpr IndexContext::substitute(const IndexExpr& e,
                                   const std::map<int, IndexExpr>& replacement) {
  IndexExpr result = constant(e.constant);
  for (const auto& t : e.terms) {
    const Atom a = atom(t.atom);
    IndexExpr inner{0, {{t.atom, 1}}};
    switch (a.kind) {
      case AtomKind::Axis:
        if (const auto found = replacement.find(a.id); found != replacement.end())
          inner = found->second;
        break;
      case AtomKind::Value:
        break;
      case AtomKind::Div:
        inner = div(substitute(a.operand, replacement), a.divisor);
        break;
      case AtomKind::Mod:
        inner = mod(substitute(a.operand, replacement), a.divisor);
        break;
    }
    result = add(result, mul(inner, t.factor));
  }
  return result;
}

std::string IndexContext::to_text(const IndexExpr& e) const {
  std::string text;
  for (const auto& t : e.terms) {
    const Atom& a = atom(t.atom);
    std::string inner;
    switch (a.kind) {
      case AtomKind::Axis:
        inner = fmt::format("i{}", a.id);
        break;
      case AtomKind::Value:
        inner = fmt::format("%{}", a.id);
        break;
      case AtomKind::Div:
        inner = fmt::format("({})/{}", to_text(a.operand), a.divisor);
        break;
      case AtomKind::Mod:
        inner = fmt::format("({})%{}", to_text(a.operand), a.divisor);
        break;
    }
    if (!text.empty()) text += " + ";
    text += t.factor.is_identical(1) ? inner : fmt::format("{}*{}", t.factor, inner);
  }
  if (text.empty()) return fmt::format("{}", e.constant);
  return e.constant.is_identical(0) ? text : fmt::format("{} + {}", text, e.constant);
}

IndexExpr translate(const IndexContext& from, const IndexExpr& e, std::span<const IndexExpr> axes,
                    IndexContext& to, const SizeFunction& value_of) {
  const auto size = [&](SymInt x) { return value_of ? value_of(x) : x; };
  IndexExpr result = IndexContext::constant(size(e.constant));
  for (const IndexExpr::Term& t : e.terms) {
    const Atom& a = from.atom(t.atom);
    IndexExpr inner;
    switch (a.kind) {
      case AtomKind::Axis:
        inner = axes[a.id];
        break;
      case AtomKind::Value:
        inner = to.value(a.id, {size(a.range.low), size(a.range.high)});
        break;
      case AtomKind::Div:
        inner = to.div(translate(from, a.operand, axes, to, value_of), size(a.divisor));
        break;
      case AtomKind::Mod:
        inner = to.mod(translate(from, a.operand, axes, to, value_of), size(a.divisor));
        break;
    }
    result = to.add(result, to.mul(inner, size(t.factor)));
  }
  return result;
}

std::vector<SymInt> contiguous_strides(SymInts shape) {
  std::vector<SymInt> strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;)
    strides[d - 1] = checked_mul(strides[d], max(shape[d], 1), "strides");
  return strides;
}

std::vector<IndexExpr> delinearize(IndexContext& context, const IndexExpr& linear, SymInts shape) {
  const std::vector<SymInt> strides = contiguous_strides(shape);
  std::vector<IndexExpr> index(shape.size());
  for (size_t d = 0; d < shape.size(); ++d) {
    IndexExpr quotient = context.div(linear, max(strides[d], 1));
    index[d] = d == 0 ? quotient : context.mod(quotient, max(shape[d], 1));
    if (shape[d].is_identical(1)) index[d] = IndexContext::constant(0);
  }
  return index;
}

IndexExpr linearize(IndexContext& context, std::span<const IndexExpr> index, SymInts strides) {
  COREGRAD_CHECK(index.size() == strides.size());
  IndexExpr sum;
  for (size_t d = 0; d < index.size(); ++d)
    sum = context.add(sum, context.mul(index[d], strides[d]));
  return sum;
}

}  // namespace coregrad
