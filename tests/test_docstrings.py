"""Public functions that take or return arrays state shapes in their docstrings."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ARRAYS = re.compile(r"\b(Tensor|NDArray|Floats|Images|Image|Masks|Array)\b")
SIDE = r"(?:\.\.\.|[A-Z]|[hw]|[A-Z] ?[-+*/] ?\d+|\d+(?: ?[-+*/] ?[A-Z])?|\d+ ?\+ ?\d+ ?[A-Z])"
SHAPE = re.compile(rf"\({SIDE}(?:, ?{SIDE})*,?\)")
WANTED = 0.75  # 48 % of kornia's public functions state a shape; 60 % was the aim
FOLDERS = ("lightning_kp", "methods", "datamodules", "callbacks")


def public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Functions, and methods of public classes, without a leading underscore."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for owner in (tree, *classes):
        for node in owner.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield node


def handles_arrays(function: ast.FunctionDef) -> bool:
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    annotations = [*(each.annotation for each in arguments), function.returns]
    return any(ARRAYS.search(ast.unparse(each)) for each in annotations if each is not None)


def states_a_shape(docstring: str) -> bool:
    return any(re.search("[A-Zhw]", found) for found in SHAPE.findall(docstring))


def test_the_measure() -> None:
    assert states_a_shape("Points (B, I, K, 2) of heatmaps.")
    assert states_a_shape("One value per frame, (N,).")
    assert not states_a_shape("The largest value (of all), see (000, 5.4) and table (2, 3).")
    (function,) = public_functions(ast.parse("def turn(image: Tensor) -> None: ..."))
    assert handles_arrays(function)


def test_most_array_functions_state_shapes(root: Path) -> None:
    stated = [
        states_a_shape(ast.get_docstring(function) or "")
        for folder in FOLDERS
        for path in sorted((root / folder).rglob("*.py"))
        for function in public_functions(ast.parse(path.read_text("utf-8")))
        if handles_arrays(function)
    ]
    assert len(stated) > 200
    share = sum(stated) / len(stated)
    assert share >= WANTED, f"{share:.0%} of {len(stated)} public functions that handle arrays state a shape"
