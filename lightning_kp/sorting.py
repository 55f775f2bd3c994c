"""Sorting that ONNX has as well."""

import torch
from torch import Tensor


def stable_sort(values: Tensor, *, descending: bool = False) -> tuple[Tensor, Tensor]:
    """Sorted values along the last axis and where they were; equal ones keep their order.

    A graph for export takes TopK, which in ONNX puts the lower index first among equals; torch's own topk
    promises no such thing, and ONNX has no stable sort.
    """
    if torch.compiler.is_exporting():
        taken, order = values.topk(values.shape[-1], dim=-1, largest=descending)
        return taken, order
    ordered, order = values.sort(dim=-1, descending=descending, stable=True)
    return ordered, order
