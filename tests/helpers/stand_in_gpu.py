"""A stand-in for a GPU: tensors that say they are on one, lie in main memory, and refuse what a GPU refuses.

    python -m tests.helpers.stand_in_gpu pretrain.bert --corpus sample --precision fp32 --out runs/bert

A machine without a GPU can still tell whether a program puts its tensors where they belong. Here a command computes on
a device "gpu", made of what torch has for devices written in Python. What is put there is an `OnGpu`, which wraps a
tensor of the CPU. Each operation is looked at before the CPU computes it: one that takes tensors of both devices raises
what CUDA raises, and so does a draw by a generator of the other device, or a tensor of the GPU given to numpy.

Nothing is learned of CUDA's kernels: their rounding, memory, speed and bfloat16 stay untried, as do several GPUs.
"""

import runpy
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

from minitransfer.apparatus import runtime, states


class Backend(_DummyBackendModule):
    """What `torch.gpu` is: torch's own stand-in, which has no precisions of autocast."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


_setup_privateuseone_for_python_backend("gpu", Backend())
GPU = torch.device("gpu", 0)
MOVES = ("copy_", "_to_copy", "_foreach_copy_")  # from one device to the other
INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_")  # a tensor of the GPU takes indices of the CPU
of_gpu: dict[int, torch.Generator] = {}  # generators of the GPU by address, kept so that none is used twice


class OnGpu(torch.Tensor):
    """A tensor on the GPU. Its numbers are in `inner`, a tensor of the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor):
        made = torch.Tensor._make_wrapper_subclass(cls, inner.size(), strides=inner.stride(), dtype=inner.dtype,
                                                   storage_offset=inner.storage_offset(), device=GPU,
                                                   requires_grad=inner.requires_grad)
        made.inner = inner
        return made

    def __tensor_flatten__(self):
        """So that `Module.to` knows how to put an `OnGpu` in the place of a parameter."""
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner, _, size, stride):
        return OnGpu(inner["inner"])

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return compute(operation, args, kwargs or {})


class Watch(TorchDispatchMode):
    """Sees the operations that no `OnGpu` goes into: they may make one, or draw."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return compute(operation, args, kwargs or {})


class AtTheDoor(TorchFunctionMode):
    """What torch does in C++ before any operation: making a tensor from numbers, and giving numbers away."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        on_gpu = bool(args) and isinstance(args[0], OnGpu)
        if function in (torch.tensor, torch.as_tensor) and is_gpu(kwargs.get("device")):
            return function(*args, **kwargs | {"device": "cpu"}).to(GPU)
        if function is torch.Tensor.tolist and on_gpu:
            return args[0].inner.tolist()
        if function in (torch.Tensor.numpy, torch.Tensor.__array__) and on_gpu:
            raise TypeError(f"can't convert {GPU} device type tensor to numpy. Use Tensor.cpu() first.")
        return function(*args, **kwargs)


def is_gpu(device: Any) -> bool:
    """Whether an argument `device` names the GPU."""
    return device is not None and torch.device(device).type == GPU.type


def without(nested: Any) -> Any:
    """The same with the tensors of the CPU that its tensors on the GPU are."""
    return tree_map(lambda value: value.inner if isinstance(value, OnGpu) else value, nested)


def compute(operation: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The result of an operation of torch, computed on the CPU; on the GPU where CUDA would have it there.

    Raises: RuntimeError where CUDA would refuse its tensors or its generator.
    """
    name, schema, given = operation._schema.name.removeprefix("aten::"), operation._schema, tree_leaves((args, kwargs))
    there = [value for value in given if isinstance(value, OnGpu)]
    if there and name not in MOVES:
        here = given if not (name in INDEXED and isinstance(args[0], OnGpu)) else args[2:3]
        if any(isinstance(value, Tensor) and not isinstance(value, OnGpu) and value.dim() for value in here):
            raise RuntimeError(f"{name}: Expected all tensors to be on the same device, but found gpu and cpu")
    to_gpu = is_gpu(kwargs["device"]) if kwargs.get("device") is not None else bool(there)
    if any(isinstance(value, torch.Generator) and (value._cdata in of_gpu) != to_gpu for value in given):
        raise RuntimeError(f"{name}: Expected a generator of the same device as the tensor")
    inner_args, inner_kwargs = without((args, kwargs))
    if kwargs.get("device") is not None:
        inner_kwargs["device"] = torch.device("cpu")
    result = REPLACED.get(name, operation)(*inner_args, **inner_kwargs)
    for argument, value in {**dict(zip([argument.name for argument in schema.arguments], args)), **kwargs}.items():
        if any(made.alias_info and made.alias_info.is_write and argument in ("self", "out") for made in schema.returns):
            return value  # written in place
    return tree_map(lambda value: OnGpu(value) if isinstance(value, Tensor) else value, result) if to_gpu else result


def lstm_cell(of_input: Tensor, of_state: Tensor, cell: Tensor, *biases: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`_thnn_fused_lstm_cell`, which torch has for GPUs alone: the state, the memory cell, and the four gates."""
    i, f, g, o = sum((of_input, of_state, *(bias for bias in biases if bias is not None))).chunk(4, dim=1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    cell = f * cell + i * g
    return o * cell.tanh(), cell, torch.cat([i, f, g, o], dim=1)


def lstm_cell_backward(of_state: Tensor | None, of_cell: Tensor | None, before: Tensor, cell: Tensor, gates: Tensor,
                       has_bias: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """The gradients of `lstm_cell` for its gates before they were squashed, for the memory cell before, and biases."""
    i, f, g, o = gates.chunk(4, dim=1)
    h = torch.zeros_like(cell) if of_state is None else of_state
    c = h * o * (1 - cell.tanh() ** 2) + (0 if of_cell is None else of_cell)
    squashed = torch.cat([c * g * i * (1 - i), c * before * f * (1 - f), c * i * (1 - g ** 2),
                          h * cell.tanh() * o * (1 - o)], dim=1)
    return squashed, c * f, squashed.sum(dim=0) if has_bias else None


REPLACED: dict[str, Callable] = {"_thnn_fused_lstm_cell": lstm_cell,
                                 "_thnn_fused_lstm_cell_backward_impl": lstm_cell_backward,
                                 "_fused_sdp_choice": lambda *args, **kwargs: 0}  # attention written out


def on_gpu(module: str) -> None:
    """Run what `python -m module` runs, with the rest of the command line, on the GPU. Exits as the command does."""
    without_device = runtime.generator

    def generator(*parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
        """As `runtime.generator`; one of the GPU is noted down as such."""
        made = without_device(*parts)
        if is_gpu(device):
            of_gpu[made._cdata] = made
        return made

    runtime.generator = generator
    runtime.choose_device = lambda name: torch.device("cpu") if name == "cpu" else GPU
    save = states.save
    states.save = lambda path, step, state, damaged=(): save(path, step, without(state), damaged)
    of_default = torch.Generator()
    of_gpu[of_default._cdata] = of_default
    torch.cuda.default_generators = (of_default,)
    with Watch(), AtTheDoor():
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    del sys.argv[0]
    on_gpu(sys.argv[0])
