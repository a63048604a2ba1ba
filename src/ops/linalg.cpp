#include "ops/linalg.h"

#include "base/checked.h"
#include "ops/detail.h"

#include <algorithm>
#include <string>

namespace coregrad::ops {
namespace {

// Named subscripts: letters as they are, the dimensions of an ellipsis as negative numbers.
using Subscripts = std::vector<int>;

struct Term {
  NodeId node;
  Subscripts subscripts;
};

bool contains(const Subscripts& list, int name) {
  return std::ranges::find(list, name) != list.end();
}

// Bool has no products: it is multiplied as int64 would be, which no caller means.
void promote_pair(Graph& g, NodeId& a, NodeId& b, std::string_view operation) {
  const DType dtype = promote(g.dtype(a), g.dtype(b));
  if (dtype == DType::Bool)
    raise<DTypeError>("{}: bool is not a number; cast it first: got {} and {}", operation,
                      describe(g, a), describe(g, b));
  a = cast(g, a, dtype);
  b = cast(g, b, dtype);
}

// Sums out what only this term has.
void sum_private(Graph& g, Term& term, const Subscripts& needed) {
  Dims dims;
  Subscripts left;
  for (size_t d = 0; d < term.subscripts.size(); ++d) {
    if (contains(needed, term.subscripts[d]))
      left.push_back(term.subscripts[d]);
    else
      dims.push_back(static_cast<int64_t>(d));
  }
  if (dims.empty()) return;
  const DType dtype = g.dtype(term.node);
  term.node = cast(g, reduce(g, Op::Sum, term.node, dims), dtype);
  term.subscripts = left;
}

// Dimensions of extent 1 that broadcast against another operand's are dropped.
void drop_broadcast(Graph& g, Term& term, const Term& other) {
  Dims dims;
  Subscripts left;
  for (size_t d = 0; d < term.subscripts.size(); ++d) {
    const auto at = std::ranges::find(other.subscripts, term.subscripts[d]);
    const bool is_broadcast = at != other.subscripts.end() && g.shape(term.node)[d] == 1 &&
                              g.shape(other.node)[at - other.subscripts.begin()] != 1;
    if (is_broadcast)
      dims.push_back(static_cast<int64_t>(d));
    else
      left.push_back(term.subscripts[d]);
  }
  term.node = squeeze(g, term.node, dims);
  term.subscripts = left;
}

// The product of two terms with the subscripts `out`; every name of a term is in the other or in
// out.
NodeId contract_terms(Graph& g, Term a, Term b, const Subscripts& out, std::string_view operation) {
  promote_pair(g, a.node, b.node, operation);
  drop_broadcast(g, a, b);
  drop_broadcast(g, b, a);
  ContractSpec spec;
  Subscripts names;
  const auto label_of = [&](int name, SymInt extent) {
    const auto at = std::ranges::find(names, name);
    if (at != names.end()) return static_cast<int64_t>(at - names.begin());
    names.push_back(name);
    spec.extents.push_back(extent);
    return static_cast<int64_t>(names.size()) - 1;
  };
  // The result's names first: one spelling for products that are the same.
  for (int name : out)
    for (const Term* term : {&a, &b}) {
      const auto at = std::ranges::find(term->subscripts, name);
      if (at != term->subscripts.end())
        label_of(name, g.shape(term->node)[at - term->subscripts.begin()]);
    }
  for (const auto& [term, maps] : {std::pair{&a, &spec.lhs}, std::pair{&b, &spec.rhs}})
    for (size_t d = 0; d < term->subscripts.size(); ++d)
      maps->push_back(DimMap::label(label_of(term->subscripts[d], g.shape(term->node)[d])));
  for (int name : out) spec.out.push_back(label_of(name, 1));
  return contract(g, a.node, b.node, spec);
}

// A term whose own repeated subscripts have become one (a diagonal).
Term without_repeats(Graph& g, Term term) {
  for (size_t i = 0; i < term.subscripts.size(); ++i) {
    for (size_t j = i + 1; j < term.subscripts.size(); ++j) {
      if (term.subscripts[i] != term.subscripts[j]) continue;
      const int name = term.subscripts[i];
      if (g.shape(term.node)[i] != g.shape(term.node)[j])
        raise<ShapeError>("einsum: a repeated letter must have one extent: got {}",
                          describe(g, term.node));
      term.node = diagonal(g, term.node, 0, static_cast<int64_t>(i), static_cast<int64_t>(j));
      term.subscripts.erase(term.subscripts.begin() + static_cast<std::ptrdiff_t>(j));
      term.subscripts.erase(term.subscripts.begin() + static_cast<std::ptrdiff_t>(i));
      term.subscripts.push_back(name);
      i = static_cast<size_t>(-1);
      break;
    }
  }
  return term;
}

// One side of an equation; -1 stands for the ellipsis until its rank is known.
Subscripts parse_side(std::string_view text, std::string_view equation) {
  Subscripts names;
  bool has_ellipsis = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == ' ') continue;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
      names.push_back(c);
    } else if (text.substr(i, 3) == "..." && !has_ellipsis) {
      has_ellipsis = true;
      names.push_back(-1);
      i += 2;
    } else {
      raise<ValueError>("einsum: subscripts are letters and one \"...\": got '{}' in \"{}\"", c,
                        equation);
    }
  }
  return names;
}

// The ellipsis replaced by names for its dimensions: the last one is -2, the one before it -3, ...
Subscripts with_ellipsis(const Subscripts& names, size_t rank) {
  Subscripts result;
  for (int name : names) {
    if (name != -1) {
      result.push_back(name);
      continue;
    }
    for (size_t k = rank; k > 0; --k) result.push_back(-1 - static_cast<int>(k));
  }
  return result;
}

}  // namespace

NodeId diagonal(Graph& g, NodeId x, int64_t offset, int64_t dim1, int64_t dim2) {
  const int64_t rank = g.rank(x);
  const int64_t a = normalize_dim(dim1, rank, "diagonal"),
                b = normalize_dim(dim2, rank, "diagonal");
  if (a == b) raise<ValueError>("diagonal: the two dimensions must differ: got {} twice", a);
  Dims order;
  for (int64_t d = 0; d < rank; ++d)
    if (d != a && d != b) order.push_back(d);
  order.push_back(a);
  order.push_back(b);
  NodeId y = permute(g, x, order);
  const SymInt rows = g.shape(y)[rank - 2], columns = g.shape(y)[rank - 1];
  const SymInt skip_rows = min(rows, std::max<int64_t>(0, -offset)),
               skip_columns = min(columns, std::max<int64_t>(0, offset));
  const SymInt n = min(rows - skip_rows, columns - skip_columns);
  y = narrow(g, narrow(g, y, -2, skip_rows, skip_rows + n), -1, skip_columns, skip_columns + n);
  // The diagonal of an n by n square is every (n + 1)st of its elements.
  Dims shape = shape_of(g, y);
  shape.pop_back();
  shape.back() = checked_mul(n, n, "diagonal");
  return narrow(g, reshape(g, y, shape), -1, 0, shape.back(), n + 1);
}

NodeId matmul(Graph& g, NodeId a, NodeId b) {
  const auto rank_a = static_cast<size_t>(g.rank(a)), rank_b = static_cast<size_t>(g.rank(b));
  if (rank_a == 0 || rank_b == 0)
    raise<ShapeError>("matmul: operands must have at least one dimension: got {} and {}",
                      describe(g, a), describe(g, b));
  const SymInt inner_a = g.shape(a)[rank_a - 1], inner_b = g.shape(b)[rank_b == 1 ? 0 : rank_b - 2];
  if (inner_a != inner_b)
    raise<ShapeError>("matmul: inner sizes differ: lhs {} @ rhs {}", describe(g, a),
                      describe(g, b));
  // Batch dimensions are named from the last one backwards, so that they align.
  const int row = 'i', column = 'j', inner = 'k';
  Term left{a, {}}, right{b, {}};
  Subscripts out;
  const size_t batch_a = rank_a > 2 ? rank_a - 2 : 0, batch_b = rank_b > 2 ? rank_b - 2 : 0;
  const Dims batch_shape =
      broadcast_shapes(g.shape(a).first(batch_a), g.shape(b).first(batch_b), "matmul");
  left.subscripts = with_ellipsis({-1}, batch_a);
  right.subscripts = with_ellipsis({-1}, batch_b);
  out = with_ellipsis({-1}, batch_shape.size());
  if (rank_a > 1) left.subscripts.push_back(row), out.push_back(row);
  left.subscripts.push_back(inner);
  right.subscripts.push_back(inner);
  if (rank_b > 1) right.subscripts.push_back(column), out.push_back(column);
  return contract_terms(g, left, right, out, "matmul");
}

NodeId bmm(Graph& g, NodeId a, NodeId b) {
  if (g.rank(a) != 3 || g.rank(b) != 3 || g.shape(a)[0] != g.shape(b)[0])
    raise<ShapeError>("bmm: operands must be matrices of one batch: got {} and {}", describe(g, a),
                      describe(g, b));
  return matmul(g, a, b);
}

NodeId linear(Graph& g, NodeId x, NodeId weight, std::optional<NodeId> bias) {
  if (g.rank(x) == 0 || g.rank(weight) < 1 || g.rank(weight) > 2 ||
      g.shape(x).back() != g.shape(weight).back())
    raise<ShapeError>("linear: the last extent of the input must be the weight's: got {} and {}",
                      describe(g, x), describe(g, weight));
  const NodeId y = matmul(g, x, g.rank(weight) == 2 ? transpose(g, weight, 0, 1) : weight);
  return bias ? add(g, y, *bias) : y;
}

NodeId outer(Graph& g, NodeId a, NodeId b) {
  if (g.rank(a) != 1 || g.rank(b) != 1)
    raise<ShapeError>("outer: operands must be vectors: got {} and {}", describe(g, a),
                      describe(g, b));
  return mul(g, unsqueeze(g, a, 1), unsqueeze(g, b, 0));
}

NodeId einsum(Graph& g, std::string_view equation, std::span<const NodeId> operands) {
  const size_t arrow = equation.find("->");
  std::string_view inputs = equation.substr(0, arrow);
  std::vector<Subscripts> sides;
  for (size_t begin = 0;;) {
    const size_t comma = inputs.find(',', begin);
    sides.push_back(parse_side(inputs.substr(begin, comma - begin), equation));
    if (comma == std::string_view::npos) break;
    begin = comma + 1;
  }
  if (sides.size() != operands.size())
    raise<ValueError>("einsum: \"{}\" names {} operands: got {}", equation, sides.size(),
                      operands.size());
  std::vector<Term> terms;
  size_t ellipsis_rank = 0;
  for (size_t k = 0; k < sides.size(); ++k) {
    const auto rank = static_cast<size_t>(g.rank(operands[k]));
    const bool has_ellipsis = contains(sides[k], -1);
    const size_t named = sides[k].size() - has_ellipsis;
    if (has_ellipsis ? rank < named : rank != named)
      raise<ShapeError>("einsum: operand {} has not the rank of its subscripts in \"{}\": got {}",
                        k, equation, describe(g, operands[k]));
    if (has_ellipsis) ellipsis_rank = std::max(ellipsis_rank, rank - named);
    terms.push_back(without_repeats(
        g, {operands[k], with_ellipsis(sides[k], has_ellipsis ? rank - named : 0)}));
  }
  Subscripts out;
  if (arrow != std::string_view::npos) {
    out = with_ellipsis(parse_side(equation.substr(arrow + 2), equation), ellipsis_rank);
  } else {
    // The ellipsis, then the letters that occur once, in alphabetical order.
    Subscripts letters;
    for (const Subscripts& side : sides)
      for (int name : side)
        if (name != -1) letters.push_back(name);
    std::ranges::sort(letters);
    for (int name : letters)
      if (std::ranges::count(letters, name) == 1) out.push_back(name);
    const Subscripts lead = with_ellipsis({-1}, ellipsis_rank);
    out.insert(out.begin(), lead.begin(), lead.end());
  }
  for (size_t i = 0; i < out.size(); ++i) {
    if (std::find(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(i), out[i]) !=
        out.begin() + static_cast<std::ptrdiff_t>(i))
      raise<ValueError>("einsum: a letter may appear once in the output: got \"{}\"", equation);
    if (std::ranges::none_of(terms, [&](const Term& t) { return contains(t.subscripts, out[i]); }))
      raise<ValueError>("einsum: every output letter must name an input dimension: got \"{}\"",
                        equation);
  }
  // Extents of one name are equal or 1.
  for (size_t a = 0; a < terms.size(); ++a)
    for (size_t b = a + 1; b < terms.size(); ++b)
      for (size_t d = 0; d < terms[a].subscripts.size(); ++d) {
        const auto at = std::ranges::find(terms[b].subscripts, terms[a].subscripts[d]);
        if (at == terms[b].subscripts.end()) continue;
        const SymInt x = g.shape(terms[a].node)[d],
                     y = g.shape(terms[b].node)[at - terms[b].subscripts.begin()];
        if (x != y && x != 1 && y != 1)
          raise<ShapeError>(
              "einsum: dimensions of one letter must have one extent in \"{}\": got {} "
              "and {}",
              equation, describe(g, operands[a]), describe(g, operands[b]));
      }

  Term result = terms[0];
  for (size_t k = 1; k < terms.size(); ++k) {
    Subscripts later = out;
    for (size_t m = k + 1; m < terms.size(); ++m)
      later.insert(later.end(), terms[m].subscripts.begin(), terms[m].subscripts.end());
    const auto needed_with = [&](const Term& other) {
      Subscripts needed = later;
      needed.insert(needed.end(), other.subscripts.begin(), other.subscripts.end());
      return needed;
    };
    sum_private(g, result, needed_with(terms[k]));
    sum_private(g, terms[k], needed_with(result));
    Subscripts product;
    for (const Term* t : {static_cast<const Term*>(&result), static_cast<const Term*>(&terms[k])})
      for (int name : t->subscripts)
        if (contains(later, name) && !contains(product, name)) product.push_back(name);
    if (k + 1 == terms.size()) product = out;
    result = {contract_terms(g, result, terms[k], product, "einsum"), product};
  }
  sum_private(g, result, out);
  Dims order;
  for (int name : out)
    order.push_back(std::ranges::find(result.subscripts, name) - result.subscripts.begin());
  return permute(g, result.node, order);
}

}  // namespace coregrad::ops
