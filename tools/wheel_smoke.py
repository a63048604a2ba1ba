"""Smoke test of an installed coregrad wheel, with another LLVM in the process when asked for."""

import argparse


def run_llvmlite() -> None:
    """Compiles and calls one function with llvmlite's own LLVM."""
    import ctypes

    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly("define i32 @seven() { ret i32 7 }")
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    address = engine.get_function_address("seven")
    assert ctypes.CFUNCTYPE(ctypes.c_int32)(address)() == 7


def run_coregrad() -> None:
    """Computes, differentiates and hands a result to NumPy."""
    import numpy as np

    import coregrad as cg

    x = np.linspace(-2, 2, 1000, dtype=np.float32)
    y = cg.tensor(x).exp().sum()
    np.testing.assert_allclose(y.numpy(), np.exp(x, dtype=np.float64).sum(), rtol=1e-5)
    value, gradient = cg.value_and_grad(lambda t: (t * t).sum())(cg.tensor(x))
    np.testing.assert_allclose(gradient.numpy(), 2 * x, rtol=1e-6)
    assert value.shape == ()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llvmlite", choices=["first", "last"], help="also use llvmlite, when")
    arguments = parser.parse_args()
    if arguments.llvmlite == "first":
        run_llvmlite()
    run_coregrad()
    if arguments.llvmlite == "last":
        run_llvmlite()
        run_coregrad()
    order = f" (llvmlite {arguments.llvmlite})" if arguments.llvmlite else ""
    print(f"wheel_smoke: coregrad works{order}")


if __name__ == "__main__":
    main()
