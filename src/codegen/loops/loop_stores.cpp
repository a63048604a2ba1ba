// Plain stores, and accumulating stores into the row of a chunk.

#include "base/error.h"
#include "codegen/ir/control_flow.h"
#include "codegen/loops/kernel_emitter.h"

#include <llvm/IR/Constants.h>

#include <algorithm>

namespace coregrad {

using llvm::Value;

void KernelEmitter::plan_combines() {
  std::vector<bool> is_in_nest(kernel_.stores.size(), false);
  for (const LoopPass& p : schedule_.passes)
    for (const LoopNest& n : p.nests)
      for (const size_t s : n.stores) is_in_nest[s] = true;
  for (size_t s = 0; s < kernel_.stores.size(); ++s) {
    const KernelStore& store = kernel_.stores[s];
    if (store.combine == Op::Literal) continue;
    COREGRAD_CHECK(value(store.value).dtype == kernel_.buffers[store.buffer].dtype);
    const uint64_t axes = index_axes(kernel_, store.index, schedule_.value_axes);
    // The axis that lanes run along where the store stands, if its sum can wait for their end.
    int lane_axis = -1;
    if (kernel_.lane_parallel && !is_in_nest[s]) lane_axis = kernel_.num_parallel - 1;
    if (!kernel_.lane_parallel && is_in_nest[s]) {
      const auto set = [&] {
        for (const LoopPass& p : schedule_.passes)
          for (const LoopNest& n : p.nests)
            if (std::find(n.stores.begin(), n.stores.end(), s) != n.stores.end())
              return static_cast<size_t>(n.loop_set);
        COREGRAD_UNREACHABLE("store without a nest");
      }();
      lane_axis = schedule_.loop_sets[set].back();
    }
    Place place = Place::Memory;
    if (axes == 0)
      place = Place::Function;
    else if (lane_axis >= 0 && (axes >> lane_axis & 1) == 0)
      place = Place::LaneLoop;
    Combine made{s, place, nullptr};
    if (place != Place::Memory) {
      made.accumulator =
          std::make_unique<Accumulator>(builder_, allocas_, store.combine, value(store.value).dtype,
                                        schedule_.unroll, schedule_.width, 0);
      made.accumulator->reset();
    }
    combines_.push_back(std::move(made));
  }
}

KernelEmitter::Combine* KernelEmitter::combine_of(size_t store) {
  for (Combine& c : combines_)
    if (c.store == store) return &c;
  return nullptr;
}

void KernelEmitter::start_lane_sums(const std::vector<size_t>& stores) {
  for (const size_t s : stores)
    if (Combine* const c = combine_of(s); c && c->place == Place::LaneLoop) c->accumulator->reset();
}

void KernelEmitter::finish_lane_sums(ValueEmitter& at, const std::vector<size_t>& stores) {
  for (const size_t s : stores)
    if (Combine* const c = combine_of(s); c && c->place == Place::LaneLoop)
      combine_in_memory(at, kernel_.stores[s], c->accumulator->total());
}

void KernelEmitter::emit_stores(Group& group, const std::vector<size_t>& stores, int first_slot,
                                int slot_step) {
  // All values first: an output may be the memory of an input.
  for (ValueEmitter* at : group) {
    for (const size_t s : stores) {
      const KernelStore& store = kernel_.stores[s];
      at->get(store.value);
      if (store.index.is_constant()) continue;
      std::vector<int> axes, values;
      kernel_.context.collect(store.index, axes, values);
      for (const int id : values) at->get(id);
    }
  }
  for (size_t m = 0; m < group.size(); ++m)
    for (size_t i = 0; i < stores.size(); ++i) {
      const KernelStore& store = kernel_.stores[stores[i]];
      if (i + 1 < stores.size() &&
          group[m]->emit_store_pair(store, kernel_.stores[stores[i + 1]])) {
        ++i;
      } else if (store.combine == Op::Literal) {
        group[m]->emit_store(store);
      } else {
        emit_combine(*group[m], stores[i], first_slot + slot_step * static_cast<int>(m));
      }
    }
}

void KernelEmitter::emit_combine(ValueEmitter& at, size_t s, int slot) {
  const KernelStore& store = kernel_.stores[s];
  Combine& c = *combine_of(s);
  Value* const element = at.get_vector(store.value);
  if (c.place == Place::Memory)
    combine_in_memory(at, store, element);
  else
    c.accumulator->update(slot, element, at.has_lanes() ? at.lane().mask : nullptr);
}

/// Reads, combines and writes back: the row belongs to this chunk alone.
void KernelEmitter::combine_in_memory(ValueEmitter& at, const KernelStore& store, Value* element) {
  const DType dtype = value(store.value).dtype;
  const auto merged = [&](Value* old_value, Value* v) {
    return combine(builder_, store.combine, dtype, old_value, v);
  };
  const bool is_vector = at.has_lanes() && element->getType()->isVectorTy();
  SymInt slope = 0;
  if (!is_vector || (kernel_.context.affine_in(store.index, at.lane().axis, &slope) && slope != 0 &&
                     !has_varying_values(at, store.index))) {
    // Every lane has a place of its own.
    Value* const old_value = at.load_here(store.buffer, store.index);
    at.store_here(store.buffer, store.index, merged(old_value, element));
    return;
  }
  Value* const active = at.lane().mask;
  if (!at.index_varies_over_lanes(store.index)) {
    Accumulator lanes(builder_, allocas_, store.combine, dtype, 1, at.lane().width, 0);
    lanes.reset();
    lanes.update(0, element, active);
    Value* const old_value = at.load_here(store.buffer, store.index);
    at.store_here(store.buffer, store.index, merged(old_value, lanes.total()));
    return;
  }
  // Lanes may meet in one place, so they go one after the other.
  llvm::LLVMContext& context = builder_.getContext();
  Value* const places = at.emit_index(store.index);
  llvm::Type* const type = element_type(context, dtype);
  llvm::Type* const memory = dtype == DType::Bool ? builder_.getInt8Ty() : type;
  const llvm::Align align(static_cast<uint64_t>(size_of(dtype)));
  for (int l = 0; l < at.lane().width; ++l) {
    const auto lane = static_cast<uint64_t>(l);
    Value* const is_active =
        active ? builder_.CreateExtractElement(active, lane) : builder_.getTrue();
    emit_if(builder_, is_active, [&] {
      Value* const pointer = builder_.CreateGEP(memory, buffers_[store.buffer],
                                                builder_.CreateExtractElement(places, lane));
      Value* old_value = builder_.CreateAlignedLoad(memory, pointer, align);
      if (memory != type) old_value = builder_.CreateIsNotNull(old_value);
      Value* const now = merged(old_value, builder_.CreateExtractElement(element, lane));
      builder_.CreateAlignedStore(memory == type ? now : builder_.CreateZExt(now, memory), pointer,
                                  align);
    });
  }
}

bool KernelEmitter::has_varying_values(const ValueEmitter& at, const IndexExpr& index) const {
  if (index.is_constant()) return false;
  std::vector<int> axes, values;
  kernel_.context.collect(index, axes, values);
  return std::any_of(values.begin(), values.end(),
                     [&](int id) { return at.varies_over_lanes(id); });
}

}  // namespace coregrad
