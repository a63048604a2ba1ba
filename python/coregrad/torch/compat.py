"""PyTorch's private interfaces where they differ between versions: 2.13, which the tests run with, and
2.15.

Our own call of a compiled graph takes the place of AOTAutograd's wrappers only where their metadata
asks for nothing else. A version whose metadata has fields that this file has not heard of keeps the
wrappers: slower, and right.
"""

from __future__ import annotations

import dataclasses
from typing import Any

_KNOWN = {
    "ViewAndMutationMeta": {
        "act_input_indices", "act_input_paths", "bw_donated_idxs", "compile_id_str", "deterministic",
        "grad_enabled_mutation", "graphsafe_rng_device", "graphsafe_rng_state_index",
        "indices_of_inputs_that_requires_grad_with_mutations_in_bw", "input_info",
        "keep_input_mutations", "mutated_inp_stream_indices", "num_backward_tokens",
        "num_graphsafe_rng_states", "num_intermediate_bases", "num_opaque_objects_saved_for_bw",
        "num_symints_saved_for_bw", "num_tensors_saved_with_no_vc_check", "output_info",
        "saved_tensor_is_graph_input", "static_input_indices", "subclass_fw_graph_out_meta",
        "subclass_inp_meta", "subclass_tangent_meta", "tangent_source_stack_traces", "tokens",
        "traced_tangent_metas", "traced_tangents", "traced_tangents_descs",
    },
    "InputAliasInfo": {
        "is_leaf", "keep_input_mutations", "mutates_data", "mutates_metadata",
        "mutates_storage_metadata", "mutation_inductor_storage_resize",
        "mutation_is_shallow_copy_data", "mutations_hidden_from_autograd",
        "mutations_under_no_grad_or_inference_mode", "requires_grad",
    },
    "OutputAliasInfo": {
        "base_idx", "dynamic_dims", "output_type", "raw_type", "requires_grad",
        "requires_grad_for_backward", "view_meta_sequence",
    },
}  # fmt: skip


def unknown_fields(meta: Any) -> list[str]:
    """What AOTAutograd's metadata of a graph may ask for that we have not heard of."""
    return sorted(
        {
            field.name
            for part in (meta, *meta.input_info[:1], *meta.output_info[:1])
            for field in dataclasses.fields(part)
            if field.name not in _KNOWN.get(type(part).__name__, ())
        }
    )


def has_asynchronous_inputs(meta: Any) -> bool:
    """Whether a collective operation may still be writing to an input."""
    return bool(getattr(meta, "act_input_indices", None) or getattr(meta, "act_input_paths", None))


def replaces_data(info: Any) -> bool:
    """Whether the graph gives an input other memory (`x.data = y`)."""
    return getattr(info, "mutation_is_shallow_copy_data", False)


def _mark_dynamic_dims() -> Any:
    from torch._functorch._aot_autograd import runtime_wrappers

    return getattr(runtime_wrappers, "mark_dynamo_propagated_dynamic_indices", None)


#: Tells Dynamo which dimensions of a tensor are of symbolic size: (tensor, dimensions); None if unknown.
mark_dynamic_dims = _mark_dynamic_dims()


def _of_traced_frame(name: str) -> Any:
    """What Dynamo knows under a name of the frame that this thread traces; None if it traces none."""
    from torch._dynamo import symbolic_convert

    translator = getattr(symbolic_convert.tls, "current_tx", None)
    return getattr(translator.output, name) if translator is not None else None


def globals_of_traced_frame() -> dict[str, Any] | None:
    """Where Dynamo puts the compiled graphs of the frame that this thread traces, if it traces one."""
    return _of_traced_frame("global_scope")


def compiler_of_traced_frame() -> Any:
    """What compiles the frame that this thread traces; None if it traces none."""
    return _of_traced_frame("compiler_fn")


def without_disable(function: Any) -> Any:
    """What `torch._dynamo.disable` wrapped."""
    return getattr(function, "_torchdynamo_orig_callable", None)


def replace_symbol(shape_env: Any, symbol: Any, expression: Any) -> None:
    """Says what a symbol of traced sizes is, wherever PyTorch has it."""
    shape_env._set_replacement(symbol, expression, "equal operators were merged")
