"""THE table of faults that `mutation_check.py` plants, one at a time.

`old` must stand exactly once in the file. A fault is chosen so that a test could tell: what only makes
code slower, or touches a path that another check makes unreachable, has no place here.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One planted fault."""

    name: str
    path: str
    old: str
    new: str
    fault: str  #: what is wrong then

    @property
    def is_python(self) -> bool:
        """Nothing has to be compiled."""
        return self.path.endswith(".py")


GRADIENTS = [
    Mutant(
        "convolution-padding-sign",
        "src/grad/rules_contract.cpp",
        "  s.map.c = -sign * m.c;",
        "  s.map.c = sign * m.c;",
        "the gradient of a padded convolution reads on the other side",
    ),
    Mutant(
        "cumprod-last-doubling",
        "src/grad/rules_reduce.cpp",
        "if (2 * step < extent) a =",
        "if (4 * step < extent) a =",
        "the last step of the recurrence carries an old product",
    ),
    Mutant(
        "scatter-overwritten-value",
        "src/grad/rules_indexing.cpp",
        "sets ? ops::select(g, survives(g, b.operand(0), dim, index), reached, zero) : reached",
        "sets ? reached : ops::select(g, survives(g, b.operand(0), dim, index), reached, zero)",
        "a value that a later one overwrote gets a gradient",
    ),
    Mutant(
        "window-offset-without-dilation",
        "src/grad/rules_views.cpp",
        "low[dim] = k * dilation;",
        "low[dim] = k;",
        "gradients of dilated windows land in wrong places",
    ),
    Mutant(
        "amax-ties-not-shared",
        "src/grad/rules_reduce.cpp",
        "broadcast_back(g, ops::div(g, b.gradient, count), dims, shape);",
        "broadcast_back(g, b.gradient, dims, shape);",
        "equal maxima get the whole gradient each",
    ),
    Mutant(
        "maximum-tie-sign",
        "src/grad/rules_elementwise.cpp",
        "const NodeId half = times(g, b.gradient, 0.5);",
        "const NodeId half = times(g, b.gradient, -0.5);",
        "equal operands of maximum get the gradient's negative",
    ),
]

REWRITES = [
    Mutant(
        "split-any-identity",
        "src/ops/structured.cpp",
        "return Scalar::of_int(dtype, op == Op::ReduceMin);",
        "return Scalar::of_int(dtype, op == Op::ReduceMax);",
        "a long all() or any() cut into parts is padded with the wrong truth value",
    ),
    Mutant(
        "product-identity",
        "src/ops/structured.cpp",
        "if (op == Op::Prod) return Scalar::of(dtype, 1);",
        "if (op == Op::Prod) return Scalar::of(dtype, 0);",
        "a long product cut into parts is padded with zeros, and one of nothing is 0",
    ),
    Mutant(
        "dense-operands-of-scans",
        "src/compile/dense_operands.cpp",
        "if (family == Family::Scan || family == Family::Library ||",
        "if (family == Family::Library ||",
        "a scan reads an input with other strides as if it were dense",
    ),
    Mutant(
        "unrolled-window-over-the-edge",
        "src/compile/unroll_windows.cpp",
        "floor_div(size - 1 - index, stride)",
        "floor_div(size - index, stride)",
        "a step of a depthwise convolution's window reads behind the end of the image",
    ),
    Mutant(
        "unrolled-window-after-the-start",
        "src/compile/unroll_windows.cpp",
        "const int64_t from = std::max<int64_t>(0, ceil_div(-index, stride));",
        "const int64_t from = std::max<int64_t>(0, floor_div(-index, stride) + 1);",
        "a step of a depthwise convolution's window leaves out its first element",
    ),
]

FUSION = [
    Mutant(
        "fuse-outer-sum",
        "src/compile/fusion_merge.cpp",
        "  if (!is_injective(map)) return {};\n",
        "",
        "a kernel that reads another's result along two axes of its own joins it",
    ),
    Mutant(
        "fuse-padded-read",
        "src/compile/fusion_merge.cpp",
        "if (!SymInt::are_equal(first.axes[to].extent, second.axes[k].extent)) return {};",
        "",
        "a kernel that reads another's result over its edge joins it",
    ),
    Mutant(
        "fuse-across-parallel-axis",
        "src/compile/fusion_merge.cpp",
        "    if (match.to_first[k] < 0 && second.axes[k].kind == K::Parallel) return {};\n",
        "    if (match.to_first[k] < 0 && second.axes[k].kind == K::Parallel) continue;\n",
        "a reduction joins what does not have all of its parallel axes",
    ),
    Mutant(
        "fuse-around-a-cycle",
        "src/compile/fusion.cpp",
        "if (!both || units_.reads_assembled(unit, p) || units_.reaches(p, unit, true)) continue;",
        "if (!both || units_.reads_assembled(unit, p)) continue;",
        "a kernel joins one that it also waits for by way of a third",
    ),
    Mutant(
        "fuse-with-own-concat",
        "src/compile/fusion.cpp",
        "if (!both || units_.reads_assembled(unit, p) || units_.reaches(p, unit, true)) continue;",
        "if (!both || units_.reaches(p, unit, true)) continue;",
        "a reader of a concatenation joins the kernel that makes one of its parts",
    ),
    Mutant(
        "siblings-that-wait",
        "src/compile/fusion.cpp",
        "if (!both || units_.reaches(*s, unit, false) || units_.reaches(unit, *s, false)) continue;",
        "if (!both || units_.reaches(unit, *s, false)) continue;",
        "kernels are joined side by side although one needs the other's result",
    ),
    Mutant(
        "epilogue-straight-and-transposed",
        "src/compile/fusion_merge.cpp",
        "        if (dim >= 0 && dim != static_cast<int>(d)) return {};\n",
        "",
        "an epilogue reads the product both straight and transposed",
    ),
    Mutant(
        "part-with-gaps-read-densely",
        "src/compile/fusion_roots.cpp",
        "    if (must_be_dense && !is_run) continue;\n",
        "",
        "a part of a concatenation is left with gaps where a reader needs it dense",
    ),
]

LOWERING = [
    Mutant(
        "either-mask-in-place-of-both",
        "src/compile/lower_loops.cpp",
        "KernelValue both{.kind = ValueKind::Elementwise, .op = Op::And, .dtype = DType::Bool};",
        "KernelValue both{.kind = ValueKind::Elementwise, .op = Op::Or, .dtype = DType::Bool};",
        "a padded read in two dimensions is masked in both only where both are outside",
    ),
    Mutant(
        "index-not-checked",
        "src/compile/lower_loops.cpp",
        "return depends_on(value, index) ? value : after(index, value);",
        "return value;",
        "an index out of range goes unseen where all elements are equal",
    ),
    Mutant(
        "pad-by-one-unmasked",
        "src/compile/view_map.cpp",
        "is_at_most(r.high, span - 1))",
        "is_at_most(r.high, span))",
        "a single element of padding at the end is read from memory",
    ),
    Mutant(
        "scatter-offset-dropped",
        "src/compile/draft.cpp",
        "      step.skip(first_operand + i, library.offsets[i]);",
        "      step.skip(first_operand + i, 0 * library.offsets[i]);",
        "a scatter reads a slice of its values from the start of memory",
    ),
    Mutant(
        "shared-code-wrong-width",
        "src/compile/draft.cpp",
        "step.skip(first + b, least * size_of(loops->buffers[b].dtype));",
        "step.skip(first + b, least * 4);",
        "the first access of an array of eight-byte elements is put at half its distance",
    ),
]

MEMORY = [
    Mutant(
        "lifetimes-that-touch",
        "src/compile/memory_plan.cpp",
        "other.first_step <= life.last_step && life.first_step <= other.last_step",
        "other.first_step < life.last_step && life.first_step < other.last_step",
        "a step writes its result over an operand it still reads",
    ),
    Mutant(
        "several-chunks-in-a-call",
        "src/runtime/executor.cpp",
        "for_each_chunk(step.range, step.chunk,",
        "for_each_chunk(step.range, step.range,",
        "a step that may not be shared runs in one call, so parts of sums miss their rows",
    ),
    Mutant(
        "in-place-with-shifted-read",
        "src/compile/share_memory.cpp",
        "|| v.buffer != read || v.index == *place;",
        "|| v.buffer != read || v.index.terms.size() == place->terms.size();",
        "a result takes over an operand's memory that it reads at other places",
    ),
    Mutant(
        "in-place-of-what-lives-on",
        "src/compile/share_memory.cpp",
        "            last_use[source.value] != s || is_read_twice(step, r) ||",
        "            is_read_twice(step, r) ||",
        "a result takes over memory that a later step reads",
    ),
    Mutant(
        "in-place-of-what-a-part-of-is-read",
        "src/compile/share_memory.cpp",
        "last_use[source.value] != s || is_read_twice(step, r) ||",
        "last_use[source.value] != s ||",
        "a result takes over a concatenation of which the kernel also reads a part",
    ),
    Mutant(
        "overwritten-input-read-in-step",
        "src/compile/memory_map.cpp",
        "uses.last_reader[spec.aliases_input] < uses.first_writer[node];",
        "uses.last_reader[spec.aliases_input] <= uses.first_writer[node];",
        "an input is overwritten by the step that reads it elsewhere",
    ),
    Mutant(
        "swapped-inputs-without-copy",
        "src/compile/draft.cpp",
        "const bool by_temporary = in_danger && spec.aliases_input >= 0;",
        "const bool by_temporary = false;",
        "of two inputs that swap their values one is lost",
    ),
]

CODE = [
    Mutant(
        "inside-by-the-first-lane",
        "src/codegen/values/value_emitter.cpp",
        "    require(builder_.CreateICmpULT(builder_.CreateAdd(first, reach), size));\n",
        "",
        "lanes behind the right border of an image are read",
    ),
    Mutant(
        "every-second-lane-of-the-first-half",
        "src/codegen/values/value_memory.cpp",
        "spread.push_back(element % 2 == 0 ? element / 2 : width);",
        "spread.push_back(element % 2 == 0 ? element % width / 2 : width);",
        "masks of the second half of strided lanes are those of the first",
    ),
    Mutant(
        "mask-without-its-lanes",
        "src/codegen/values/value_memory.cpp",
        "          a && b ? builder_.CreateAnd(a, b) : (a ? a : b)};",
        "          a && b ? builder_.CreateAnd(a, b) : (a ? a : nullptr)};",
        "a mask for all lanes hides what is asked of each",
    ),
    Mutant(
        "kernel-in-place-for-another",
        "src/kernel/loop_kernel.cpp",
        'buffers[b].may_alias ? " in place" : "");',
        '"");',
        "an update in place runs code that computes some elements twice",
    ),
    Mutant(
        "repeated-lanes-over-their-own-input",
        "src/codegen/loops/loop_lanes.cpp",
        " &&\n         std::ranges::none_of(kernel_.buffers, &KernelBuffer::may_alias);",
        ";",
        "the last vector computes from what it wrote itself",
    ),
    Mutant(
        "streams-at-any-pointer",
        "src/codegen/values/value_memory.cpp",
        "common_divisor(alignments_[buffer], index.base.constant * size)",
        "common_divisor(int64_t{64}, index.base.constant * size)",
        "a store that bypasses the caches claims an alignment that the buffer's pointer lacks",
    ),
    Mutant(
        "inside-is-remembered-outside",
        "src/codegen/values/value_emitter.cpp",
        "return {builder_.getTrue(), nullptr, std::max(level, lane_level_)};",
        "return {builder_.getTrue(), nullptr, level};",
        "rows that do not exist are read where a sum's last rows go on",
    ),
    Mutant(
        "lane-sums-of-several-rows",
        "src/codegen/loops/loop_emitter.cpp",
        " || std::ranges::any_of(combines_, is_of_one_row)",
        "",
        "sums over the lanes of several rows end up in the first one's place",
    ),
    Mutant(
        "every-size-streams",
        "src/compile/plan_template.cpp",
        "if (bytes[i] <= host_target().thresholds.stream_bytes) continue;",
        "",
        "small results of symbols push past the caches what is read next",
    ),
    Mutant(
        "last-chains-of-a-sum",
        "src/codegen/contract/k_sums.cpp",
        "if (levels.size() > 1) add_to(levels[1], load_sums(levels[0], count));",
        "",
        "the last chains of a long sum of products are lost",
    ),
    Mutant(
        "one-chain-for-a-sum",
        "src/codegen/contract/k_sums.cpp",
        "constexpr int64_t kChain = 128,",
        "constexpr int64_t kChain = 1 << 22,",
        "a long sum of products loses digits",
    ),
    Mutant(
        "block-that-ends-inside-a-vector",
        "src/codegen/contract/epilogue.cpp",
        "(plan_.num_lane_blocks > 1 && plan_.tile_lanes % width_ != 0)",
        "plan_.lanes_per_block() % width_ != 0",
        "the last results of a block of dot products are not stored",
    ),
    Mutant(
        "results-in-place-in-whole-vectors",
        "src/codegen/contract/outer_tile.cpp",
        "if (plan_.writes_result && active < plan_.width)",
        "if (plan_.writes_result && active < 0)",
        "a product that writes its result in place overwrites what lies behind a row",
    ),
    Mutant(
        "parts-that-do-not-alternate",
        "src/codegen/values/value_memory.cpp",
        "!distance.is_constant() ||\n      !distance.constant.is_identical(1))",
        "!distance.is_constant())",
        "two stores to every other element are interleaved although they do not alternate",
    ),
    Mutant(
        "window-packed-one-short",
        "src/schedule/contract/windows.cpp",
        'reach_of(window, extents) + 1, "contract");',
        'reach_of(window, extents), "contract");',
        "the last element under a window is not packed",
    ),
    Mutant(
        "packing-backward-limit",
        "src/codegen/contract/pack_runs.cpp",
        "params_.size(reach - 1), x), -f)),",
        "params_.size(reach), x), -f)),",
        "a run that is read backwards begins one element too late or early",
    ),
    Mutant(
        "dot-remainder-unmasked",
        "src/codegen/contract/dot_tile.cpp",
        "step(sums, a, b, first_lanes(rest));",
        "step(sums, a, b, nullptr);",
        "the last part of a dot product runs into the next row",
    ),
    Mutant(
        "kept-rows-overlap",
        "src/codegen/loops/loop_nest.cpp",
        "number(int64_t{slot} * schedule_.width));",
        "number(0));",
        "vectors that go through a loop together keep their values in one place",
    ),
    Mutant(
        "lane-remainder-one-more",
        "src/codegen/loops/loop_lanes.cpp",
        "active.push_back(builder_.getInt1(done + l < count));",
        "active.push_back(builder_.getInt1(done + l <= count));",
        "the mask of a row's rest has one lane too many",
    ),
    Mutant(
        "argmax-later-of-equals",
        "src/codegen/loops/loop_accumulator.cpp",
        "builder_.CreateICmpSLT(b.position, a.position)",
        "builder_.CreateICmpSGT(b.position, a.position)",
        "of equal maxima in different lanes the later one is named",
    ),
    Mutant(
        "partial-row-rest-unset",
        "src/codegen/loops/loop_emitter.cpp",
        "    fill(whole, elements, 1);\n",
        "",
        "the last columns of a column sum start from what was in memory",
    ),
    Mutant(
        "aligned-lanes-across-a-multiple",
        "src/codegen/values/value_index.cpp",
        "SymInt::is_at_most(floor_mod(inner.base.constant, span) + 1, inner.slope);",
        "true;",
        "lanes that cross a multiple of the divisor are read as neighbours",
    ),
    Mutant(
        "maximum-loses-nan",
        "src/codegen/values/elementwise_emitter.cpp",
        "return is_number(x) ? best : b.CreateSelect(b.CreateFCmpUNO(x, x), x, best);",
        "return best;",
        "maximum of NaN and a number is the number",
    ),
    Mutant(
        "random-numbers-repeat",
        "src/codegen/math/vector_math_philox.cpp",
        "std::array<Value*, 4> c = {block, b.CreateLShr(block, 32),",
        "std::array<Value*, 4> c = {block, constant(0),",
        "after 2^34 random numbers the first ones come again",
    ),
]

RUNTIME = [
    Mutant(
        "sort-not-stable",
        "src/runtime/library_sort.cpp",
        "items[right].key < items[left].key);",
        "items[right].key <= items[left].key);",
        "equal elements change places",
    ),
    Mutant(
        "scatter-range-rounded-down",
        "src/runtime/library_scatter.cpp",
        "const int64_t part = ceil_div(c.destinations, c.ranges);",
        "const int64_t part = c.destinations / c.ranges;",
        "the last destinations of a large scatter belong to no unit",
    ),
    Mutant(
        "scan-block-start",
        "src/runtime/library_scan.cpp",
        "const int64_t first = unit % context.blocks * kBlock;",
        "const int64_t first = unit % context.blocks;",
        "a scan over more than 64 lines side by side starts its later blocks at wrong lines",
    ),
    Mutant(
        "step-not-waited-for",
        "src/runtime/thread_team.cpp",
        "if (own < num_chunks) lane.wait_for_others(num_chunks - own);",
        "if (own == 0) lane.wait_for_others(num_chunks - own);",
        "a step begins before another thread has finished the step before",
    ),
    Mutant(
        "scratch-shared-by-threads",
        "src/runtime/executor.cpp",
        "scratch + worker * scratch_stride, &status,",
        "scratch, &status,",
        "two threads use the same scratch memory",
    ),
    Mutant(
        "same-seed-again",
        "src/tensor/random.cpp",
        "{seed_, position_++}",
        "{seed_, position_}",
        "each call draws the same random numbers",
    ),
]

TORCH = "python/coregrad/torch/"
PYTORCH = [
    Mutant(
        "view-of-an-overwritten-part",
        TORCH + "aliasing.py",
        "return x.storage_offset() == 0 and is_non_overlapping_and_dense_or_false(x)",
        "return True",
        "views of an overwritten part of a storage have other elements, where sizes are symbols",
    ),
    Mutant(
        "batch-norm-biased",
        TORCH + "lowering/normalization.py",
        "unbiased = variance * (count / less)",
        "unbiased = variance",
        "running variances are the biased ones",
    ),
    Mutant(
        "causal-mask-without-diagonal",
        "src/ops/nn.cpp",
        ": lower_mask(g, shape[shape.size() - 2], shape.back());",
        ": lower_mask(g, shape[shape.size() - 2], shape.back(), -1);",
        "a position does not attend to itself",
    ),
    Mutant(
        "fully-masked-row",
        "src/ops/nn.cpp",
        "where(is_dead, 1, Expr(g, sum(g, powers.node, last, true)));",
        "Expr(g, sum(g, powers.node, last, true));",
        "a row whose keys are all masked gives NaN",
    ),
    Mutant(
        "pooling-divisor-at-the-edge",
        "src/ops/pool.cpp",
        "-pool.padding[d]) && SymInt::is_at_most(last, end)) {",
        "-pool.padding[d])) {",
        "windows over the edge (ceil_mode) are divided by their whole size",
    ),
    Mutant(
        "same-random-stream",
        TORCH + "lowering/table.py",
        "stream, self._streams = self._streams, self._streams + streams",
        "stream = self._streams",
        "two dropouts of a graph draw the same numbers",
    ),
    Mutant(
        "strided-write-runs-on",
        TORCH + "lowering/views.py",
        "hit = b.along(hit & (position <= last), dim, x.ndim)",
        "hit = b.along(hit, dim, x.ndim)",
        "a write to x[a:b:step] goes on behind b",
    ),
    Mutant(
        "first-padding-index",
        TORCH + "lowering/embedding.py",
        "None if padding_idx < 0 else padding_idx",
        "None if padding_idx <= 0 else padding_idx",
        "the row of padding index 0 gets a gradient",
    ),
    Mutant(
        "view-at-traced-place",
        TORCH + "outputs.py",
        "start - base.storage_offset() * base.element_size(),",
        "start,",
        "a returned view of an input ignores where the input lies in its storage",
    ),
]

SIZES = [
    Mutant(
        "places-of-the-hint",
        "src/codegen/contract/step.cpp",
        ".write_step_offsets(plans[phase],",
        ".write_step_offsets(plans_[phase],",
        "windows of symbols are read where they lie for the hints",
    ),
    Mutant(
        "lanes-between-by-the-hint",
        "src/schedule/contract/plan.cpp",
        "  if (!has_symbols) return num_lanes != n.extent;",
        "  if (!has_symbols || n.extent > 0) return num_lanes != n.extent;",
        "results of few rows of windows are taken for one run",
    ),
    Mutant(
        "window-of-the-last-turn",
        "src/schedule/contract/packing.cpp",
        "turn / plan.lane_windows.steps() * stride;",
        "(turn / plan.lane_windows.steps() - 1) * stride;",
        "windows of symbols overlap from channel to channel",
    ),
    Mutant(
        "specialized-without-literals",
        "src/compile/specializer.cpp",
        "operands, attrs, n.literal);",
        "operands, attrs, 0);",
        "constants of a program for one set of sizes are zero",
    ),
    Mutant(
        "specialized-iteration-of-symbols",
        "src/compile/specializer.cpp",
        "attrs[0] = to.add_iteration(copy_body(*from.iteration(attrs[0])));",
        "attrs[0] = to.add_iteration(from.iteration(attrs[0]));",
        "recurrent layers never get a program for one set of sizes",
    ),
    Mutant(
        "fork-in-the-middle-of-a-job",
        "src/runtime/background_thread.cpp",
        "    running.lock();\n    mutex.lock();",
        "    running.try_lock();\n    mutex.lock();",
        "a forked child finds locks as a compilation left them",
    ),
    Mutant(
        "numbers-of-the-hint",
        "src/codegen/contract/step.cpp",
        "bound.params[param] = of(plans[phase]);",
        "bound.params[param] = of(plans_[phase]);",
        "a product of symbols runs with the blocks and panels of the hints",
    ),
    Mutant(
        "rows-of-the-panel-before",
        "src/codegen/contract/step.cpp",
        "own_sums = at(sums, b.CreateMul(b.CreateSub(own_m, m), result_stride_));",
        "own_sums = at(sums, constant(0));",
        "a last panel that overlaps gives the rows of the panel before for its own",
    ),
    Mutant(
        "panels-that-share-sums",
        "src/codegen/contract/step.cpp",
        "if (!plan.last_rows_overlap()) return sums_of_row(local_m);",
        "return sums_of_row(local_m);",
        "blocks of k are added twice to rows that two panels have",
    ),
    Mutant(
        "few-rows-taken-for-fixed",
        "src/codegen/contract/step.cpp",
        "{std::exchange(least, 1), extent == 1};",
        "{std::exchange(least, 1), true};",
        "a kernel for four to seven rows multiplies four",
    ),
    Mutant(
        "rest-of-a-mean-kept",
        "src/ops/nn.cpp",
        "return {mul(g, sub(g, deviation, rest), rstd),",
        "return {mul(g, deviation, rstd),",
        "equal values are normalised to what their mean was rounded by",
    ),
    Mutant(
        "cut-lanes-are-read",
        "src/codegen/contract/outer_tile.cpp",
        "if (!cut_.empty()) return",
        "if (!cut_.empty() && v > 0) return",
        "lanes behind the last of a symbol's are read in place",
    ),
    Mutant(
        "guards-not-asked",
        "src/compile/plan_template.cpp",
        "if (env)\n    if (const",
        "if (env && steps.empty())\n    if (const",
        "a template is bound for sizes that a decision excluded",
    ),
    Mutant(
        "part-that-is-not-whole",
        "src/compile/split_reductions.cpp",
        "const SymInt whole = round_up(along, split->rows * split->parts);",
        "const SymInt whole = round_up(along - split->parts + 1, split->parts);",
        "a reduction of symbols in parts leaves the rest out",
    ),
    Mutant(
        "rounded-up-without-a-rest",
        "src/base/shape_env_bounds.cpp",
        "if (factor->factor < 0) continue;",
        "if (factor->factor != 0) continue;",
        "a multiple that is not above a size is taken for one that is not below it",
    ),
    Mutant(
        "one-size-for-all",
        "python/src/sized_entry.cpp",
        "Kind::Size ? tensor.shape[place.dim]",
        "Kind::Size ? tensor.shape[0]",
        "a program is found by a size of another dimension",
    ),
    Mutant(
        "template-for-all-sizes",
        TORCH + "dynamic.py",
        "            if template.admits(sizes, args):\n                self._templates.remove",
        "            if template is not None:\n                self._templates.remove",
        "a template is used for sizes that it is not for",
    ),
    Mutant(
        "size-of-one-not-repeated",
        "src/compile/view_map.cpp",
        "(!from[d].is_identical(to[d]) && from[d] == 1);",
        "(from[d].is_identical(to[d]) && from[d] == 1);",
        "a size that a decision made 1 is read as if it were what it is repeated to",
    ),
    Mutant(
        "neighbour-in-memory-forgotten",
        "src/compile/memory_plan.cpp",
        "for (size_t before = 0; before < at; ++before) {",
        "for (size_t before = 0; before + 1 < at; ++before) {",
        "two buffers that are alive together get the same memory",
    ),
]

#: Iterations, and rows of scatters.
STEPS = [
    Mutant(
        "value-of-this-step-handed-on",
        "src/compile/iterated_steps.cpp",
        ": of_output(source_->carried[number_of_carried[k]], place - 1);",
        ": of_output(source_->carried[number_of_carried[k]], place);",
        "a step of an iteration reads where it writes",
    ),
    Mutant(
        "edge-of-a-sequence-not-read",
        "src/compile/iterated_steps.cpp",
        "return at < 0 || at >= count_ ?",
        "return at < 0 ?",
        "a step reads behind its sequence",
    ),
    Mutant(
        "steps-in-the-wrong-order",
        "src/compile/iterated_steps.cpp",
        "source_->is_reversed ? count_ - 1 - place : place;",
        "source_->is_reversed ? place : place;",
        "a reversed iteration goes forward",
    ),
    Mutant(
        "end-of-a-row-not-scattered",
        "src/runtime/library_scatter.cpp",
        "for (; i < count; ++i) row[i] =",
        "for (; i + 1 < count; ++i) row[i] =",
        "the last element of a row whose length is odd stays as it was",
    ),
]

MUTANTS = [
    *GRADIENTS,
    *REWRITES,
    *FUSION,
    *LOWERING,
    *MEMORY,
    *CODE,
    *RUNTIME,
    *PYTORCH,
    *SIZES,
    *STEPS,
]
