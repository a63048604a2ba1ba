"""Writes the type stubs of the extension module: make_stubs.py <folder with coregrad> <output>.

The package is imported as users do, so that the methods which it adds to Tensor are there too.
"""

import sys
from types import FunctionType, UnionType
from typing import Union, get_type_hints

from nanobind import stubgen


def main() -> None:
    package, output = sys.argv[1:]
    sys.path.insert(0, package)
    import coregrad

    for member in vars(coregrad.Tensor).values():
        function = member.fget if isinstance(member, property) else member
        if isinstance(function, FunctionType):
            # As written there, types would miss imports, and functions would be imports themselves.
            function.__annotations__ = {
                name: Union[hint.__args__] if isinstance(hint, UnionType) else hint  # noqa: UP007
                for name, hint in get_type_hints(function).items()
            }
            function.__module__ = "coregrad._core"
    stubgen.main(["--quiet", "--recursive", "--module", "coregrad._core", "--output-dir", output])


if __name__ == "__main__":
    main()
