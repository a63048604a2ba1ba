// Operations as recordings of graph builders: each is its rule for operands and one builder call.

#include "base/checked.h"
#include "coregrad/ops.h"
#include "ir/print.h"
#include "ops/indexing.h"
#include "ops/linalg.h"
#include "ops/math.h"
#include "ops/primitives.h"
#include "ops/reduce.h"
#include "tensor/recorded.h"

#include <algorithm>

namespace coregrad {
namespace {

using Nodes = std::span<const NodeId>;

/// Records a function of operands of which numbers become literals next to the first tensor; next
/// to float16 and bfloat16 they are float32, as in PyTorch.
template <class Make>
Tensor record_operands(std::string_view operation, std::initializer_list<Operand> operands,
                       Make make) {
  std::vector<Tensor> tensors;
  for (const Operand& o : operands)
    if (!o.is_number()) tensors.push_back(o.tensor());
  if (tensors.empty()) raise<ValueError>("{}: one of the operands must be a tensor", operation);
  const DType other = tensors.front().dtype();
  return record(operation, tensors, [&](Graph& g, Nodes n) {
    std::vector<NodeId> nodes;
    size_t next = 0;
    for (const Operand& o : operands)
      nodes.push_back(o.is_number()
                          ? ops::literal(g, convert(o.number(), compute_dtype(dtype_of_number(
                                                                    o.number(), other))))
                          : n[next++]);
    return make(g, Nodes(nodes));
  });
}

template <class Make>
Tensor record_binary(std::string_view operation, const Operand& a, const Operand& b, Make make) {
  return record_operands(operation, {a, b}, [&](Graph& g, Nodes n) { return make(g, n[0], n[1]); });
}

Tensor record_arithmetic(Op op, const Operand& a, const Operand& b) {
  return record_binary(name_of(op), a, b,
                       [op](Graph& g, NodeId x, NodeId y) { return ops::binary(g, op, x, y); });
}

Tensor record_compare(std::string_view operation, Op op, const Operand& a, const Operand& b) {
  // A number is rounded to the tensor's dtype before it is compared with it.
  const auto rounded = [](const Operand& x, const Operand& other) {
    const bool meets_narrow = x.is_number() && !other.is_number() &&
                              is_narrow(dtype_of_number(x.number(), other.tensor().dtype()));
    return meets_narrow ? Operand(convert(x.number(), other.tensor().dtype()).as_double()) : x;
  };
  return record_binary(operation, rounded(a, b), rounded(b, a),
                       [op](Graph& g, NodeId x, NodeId y) { return ops::compare(g, op, x, y); });
}

}  // namespace

Tensor nan_to_num(const Tensor& x, double nan, std::optional<double> positive,
                  std::optional<double> negative) {
  return record("nan_to_num", {x}, [&](Graph& g, Nodes n) {
    return ops::nan_to_num(g, n[0], nan, positive, negative);
  });
}

Tensor cast(const Tensor& x, DType dtype) {
  return record_move("cast", {x}, [&](Graph& g, Nodes n) { return ops::cast(g, n[0], dtype); });
}

Tensor add(const Operand& a, const Operand& b) { return record_arithmetic(Op::Add, a, b); }
Tensor sub(const Operand& a, const Operand& b) { return record_arithmetic(Op::Sub, a, b); }
Tensor mul(const Operand& a, const Operand& b) { return record_arithmetic(Op::Mul, a, b); }
Tensor fmod(const Operand& a, const Operand& b) { return record_binary("fmod", a, b, ops::fmod); }
Tensor remainder(const Operand& a, const Operand& b) {
  return record_binary("remainder", a, b, ops::remainder);
}
Tensor floor_divide(const Operand& a, const Operand& b) {
  return record_binary("floor_divide", a, b, ops::floor_divide);
}
Tensor hypot(const Operand& a, const Operand& b) {
  return record_binary("hypot", a, b, ops::hypot);
}
Tensor logaddexp(const Operand& a, const Operand& b) {
  return record_binary("logaddexp", a, b, ops::logaddexp);
}
Tensor xlogy(const Operand& a, const Operand& b) {
  return record_binary("xlogy", a, b, ops::xlogy);
}
Tensor pow(const Operand& a, const Operand& b) { return record_arithmetic(Op::Pow, a, b); }
Tensor maximum(const Operand& a, const Operand& b) { return record_arithmetic(Op::Max, a, b); }
Tensor minimum(const Operand& a, const Operand& b) { return record_arithmetic(Op::Min, a, b); }
Tensor atan2(const Operand& a, const Operand& b) { return record_arithmetic(Op::Atan2, a, b); }

Tensor div(const Operand& a, const Operand& b) {
  return record_binary("div", a, b, ops::true_divide);
}
Tensor logical_and(const Operand& a, const Operand& b) {
  return record_binary("logical_and", a, b, ops::logical_and);
}
Tensor logical_or(const Operand& a, const Operand& b) {
  return record_binary("logical_or", a, b, ops::logical_or);
}
Tensor logical_xor(const Operand& a, const Operand& b) {
  return record_binary("logical_xor", a, b, ops::logical_xor);
}

Tensor equal(const Operand& a, const Operand& b) { return record_compare("equal", Op::Eq, a, b); }
Tensor not_equal(const Operand& a, const Operand& b) {
  return record_compare("not_equal", Op::Ne, a, b);
}
Tensor less(const Operand& a, const Operand& b) { return record_compare("less", Op::Lt, a, b); }
Tensor less_equal(const Operand& a, const Operand& b) {
  return record_compare("less_equal", Op::Le, a, b);
}
Tensor greater(const Operand& a, const Operand& b) {
  return record_compare("greater", Op::Lt, b, a);
}
Tensor greater_equal(const Operand& a, const Operand& b) {
  return record_compare("greater_equal", Op::Le, b, a);
}

Tensor where(const Tensor& condition, const Operand& a, const Operand& b) {
  if (a.is_number() && b.is_number()) {
    const DType t = dtype_of_number(a.number(), dtype_of_number(b.number(), DType::Bool));
    return where(condition, full({}, convert(a.number(), t)), b);
  }
  const DType other = (a.is_number() ? b : a).tensor().dtype();
  std::vector<Tensor> tensors{condition};
  for (const Operand* o : {&a, &b})
    if (!o->is_number()) tensors.push_back(o->tensor());
  return record_move("where", tensors, [&](Graph& g, Nodes n) {
    size_t next = 1;
    const auto node = [&](const Operand& o) {
      if (!o.is_number()) return n[next++];
      return ops::literal(g, convert(o.number(), dtype_of_number(o.number(), other)));
    };
    const NodeId first = node(a);
    return ops::where(g, n[0], first, node(b));
  });
}

Tensor clamp(const Tensor& x, const std::optional<Operand>& low,
             const std::optional<Operand>& high) {
  if (!low && !high) raise<ValueError>("clamp: one of the bounds must be given");
  if (!low || !high)
    return record_operands("clamp", {x, low ? *low : *high}, [&](Graph& g, Nodes n) {
      return low ? ops::clamp(g, n[0], n[1], {}) : ops::clamp(g, n[0], {}, n[1]);
    });
  return record_operands("clamp", {x, *low, *high},
                         [](Graph& g, Nodes n) { return ops::clamp(g, n[0], n[1], n[2]); });
}
Tensor lerp(const Tensor& start, const Tensor& end, const Operand& weight) {
  return record_operands("lerp", {start, end, weight},
                         [](Graph& g, Nodes n) { return ops::lerp(g, n[0], n[1], n[2]); });
}
Tensor masked_fill(const Tensor& x, const Tensor& mask, double value) {
  return record_move("masked_fill", {x, mask}, [&](Graph& g, Nodes n) {
    return ops::masked_fill(g, n[0], n[1], ops::number_like(g, n[0], value));
  });
}

Tensor reshape(const Tensor& x, const Dims& shape) {
  return record_move("reshape", {x},
                     [&](Graph& g, Nodes n) { return ops::reshape(g, n[0], shape); });
}
Tensor permute(const Tensor& x, const Dims& order) {
  return record_move("permute", {x},
                     [&](Graph& g, Nodes n) { return ops::permute(g, n[0], order); });
}
Tensor transpose(const Tensor& x, int64_t dim_a, int64_t dim_b) {
  return record_move("transpose", {x},
                     [&](Graph& g, Nodes n) { return ops::transpose(g, n[0], dim_a, dim_b); });
}
Tensor broadcast_to(const Tensor& x, const Dims& shape) {
  return record_move("broadcast_to", {x},
                     [&](Graph& g, Nodes n) { return ops::broadcast_to(g, n[0], shape); });
}
Tensor unsqueeze(const Tensor& x, int64_t dim) {
  return record_move("unsqueeze", {x},
                     [&](Graph& g, Nodes n) { return ops::unsqueeze(g, n[0], dim); });
}
Tensor squeeze(const Tensor& x, const Dims& dims) {
  return record_move("squeeze", {x},
                     [&](Graph& g, Nodes n) { return ops::squeeze(g, n[0], dims); });
}

Tensor slice(const Tensor& x, int64_t dim, int64_t start, int64_t stop, int64_t step) {
  if (step < 1) raise<ValueError>("slice: the step must be positive, got {}", step);
  const int64_t extent = x.size(dim);
  const auto clamp = [extent](int64_t at) {
    return std::clamp<int64_t>(at < 0 ? at + extent : at, 0, extent);
  };
  const int64_t first = clamp(start);
  const int64_t last = std::max(first, clamp(stop));
  return record_move("slice", {x}, [&](Graph& g, Nodes n) {
    return ops::narrow(g, n[0], ops::normalize_dim(dim, g.rank(n[0]), "slice"), first, last, step);
  });
}

Tensor select(const Tensor& x, int64_t dim, int64_t index) {
  const int64_t extent = x.size(dim);
  if (index < -extent || index >= extent)
    raise<IndexError>("select: index {} is out of range for dimension {} of {}", index, dim,
                      type_text(x.dtype(), x.shape()));
  const int64_t at = index < 0 ? index + extent : index;
  const int64_t d = ops::normalize_dim(dim, x.ndim(), "select");
  return record_move("select", {x}, [&](Graph& g, Nodes n) {
    return ops::squeeze(g, ops::narrow(g, n[0], d, at, at + 1), Dims{d});
  });
}

Tensor flip(const Tensor& x, const Dims& dims) {
  return record_move("flip", {x}, [&](Graph& g, Nodes n) { return ops::flip(g, n[0], dims); });
}

Tensor pad(const Tensor& x, const Dims& low, const Dims& high, double fill) {
  return record_move("pad", {x}, [&](Graph& g, Nodes n) {
    const Dims interior(low.size(), 0);
    return ops::pad(g, n[0], low, high, interior, Scalar::of(g.dtype(n[0]), fill));
  });
}

Tensor concat(std::span<const Tensor> parts, int64_t dim) {
  return record_move("concat", parts, [&](Graph& g, Nodes n) { return ops::concat(g, n, dim); });
}

Tensor stack(std::span<const Tensor> parts, int64_t dim) {
  return record_move("stack", parts, [&](Graph& g, Nodes n) {
    std::vector<NodeId> raised;
    for (NodeId part : n) raised.push_back(ops::unsqueeze(g, part, dim));
    return ops::concat(g, raised, dim);
  });
}

std::vector<Tensor> split(const Tensor& x, int64_t size, int64_t dim) {
  if (size < 1) raise<ValueError>("split: the size must be positive, got {}", size);
  std::vector<Tensor> parts;
  const int64_t extent = x.size(dim);
  for (int64_t at = 0; at < extent; at += std::min(size, extent - at))
    parts.push_back(slice(x, dim, at, at + std::min(size, extent - at)));
  return parts;
}

Tensor roll(const Tensor& x, int64_t shift, int64_t dim) {
  return record_move("roll", {x},
                     [&](Graph& g, Nodes n) { return ops::roll(g, n[0], shift, dim); });
}
Tensor tile(const Tensor& x, const Dims& counts) {
  return record_move("tile", {x}, [&](Graph& g, Nodes n) { return ops::tile(g, n[0], counts); });
}
Tensor repeat_interleave(const Tensor& x, int64_t count, int64_t dim) {
  return record_move("repeat_interleave", {x}, [&](Graph& g, Nodes n) {
    return ops::repeat_interleave(g, n[0], count, dim);
  });
}
Tensor tril(const Tensor& x, int64_t diagonal) {
  return record_move("tril", {x}, [&](Graph& g, Nodes n) { return ops::tril(g, n[0], diagonal); });
}
Tensor triu(const Tensor& x, int64_t diagonal) {
  return record_move("triu", {x}, [&](Graph& g, Nodes n) { return ops::triu(g, n[0], diagonal); });
}
Tensor diagonal(const Tensor& x, int64_t offset, int64_t dim_a, int64_t dim_b) {
  return record_move("diagonal", {x}, [&](Graph& g, Nodes n) {
    return ops::diagonal(g, n[0], offset, dim_a, dim_b);
  });
}

Tensor max(const Tensor& x, const Dims& dims, bool keepdim) { return amax(x, dims, keepdim); }
Tensor min(const Tensor& x, const Dims& dims, bool keepdim) { return amin(x, dims, keepdim); }

Tensor matmul(const Tensor& a, const Tensor& b) {
  return record("matmul", {a, b}, [](Graph& g, Nodes n) { return ops::matmul(g, n[0], n[1]); });
}
Tensor bmm(const Tensor& a, const Tensor& b) {
  return record("bmm", {a, b}, [](Graph& g, Nodes n) { return ops::bmm(g, n[0], n[1]); });
}
Tensor outer(const Tensor& a, const Tensor& b) {
  return record("outer", {a, b}, [](Graph& g, Nodes n) { return ops::outer(g, n[0], n[1]); });
}
Tensor einsum(std::string_view equation, std::span<const Tensor> operands) {
  return record("einsum", operands, [&](Graph& g, Nodes n) { return ops::einsum(g, equation, n); });
}

Tensor gather(const Tensor& x, int64_t dim, const Tensor& index) {
  return record_move("gather", {x, index},
                     [&](Graph& g, Nodes n) { return ops::gather(g, n[0], dim, n[1]); });
}

Tensor scatter_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& values) {
  return record("scatter_add", {x, index, values}, [&](Graph& g, Nodes n) {
    return ops::scatter(g, n[0], dim, n[1], n[2], ScatterMode::Add);
  });
}

Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index) {
  return record_move("index_select", {x, index},
                     [&](Graph& g, Nodes n) { return ops::index_select(g, n[0], dim, n[1]); });
}

Tensor take_along_dim(const Tensor& x, const Tensor& index, int64_t dim) {
  return record_move("take_along_dim", {x, index},
                     [&](Graph& g, Nodes n) { return ops::take_along(g, n[0], n[1], dim); });
}
Tensor index_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source) {
  return record("index_add", {x, index, source},
                [&](Graph& g, Nodes n) { return ops::index_add(g, n[0], dim, n[1], n[2]); });
}
Tensor index_put(const Tensor& x, std::span<const Tensor> indices, const Tensor& values,
                 bool accumulate) {
  std::vector<Tensor> operands{x, values};
  operands.insert(operands.end(), indices.begin(), indices.end());
  return record_move("index_put", operands, [&](Graph& g, Nodes n) {
    return ops::index_put(g, n[0], n.subspan(2), n[1],
                          accumulate ? ScatterMode::Add : ScatterMode::Set);
  });
}

Tensor argsort(const Tensor& x, int64_t dim, bool descending) {
  return record_move("argsort", {x},
                     [&](Graph& g, Nodes n) { return ops::argsort(g, n[0], dim, descending); });
}

Tensor sort(const Tensor& x, int64_t dim, bool descending) {
  return record_move("sort", {x}, [&](Graph& g, Nodes n) {
    return ops::gather(g, n[0], dim, ops::argsort(g, n[0], dim, descending));
  });
}

std::pair<Tensor, Tensor> topk(const Tensor& x, int64_t k, int64_t dim, bool largest) {
  const std::vector<Tensor> both = record_many("topk", {x}, [&](Graph& g, Nodes n) {
    const auto [values, positions] = ops::topk(g, n[0], k, dim, largest);
    return std::vector{values, positions};
  });
  return {both[0], both[1]};
}

}  // namespace coregrad
