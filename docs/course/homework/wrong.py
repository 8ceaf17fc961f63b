"""What a grader says of a wrong answer, and how it asks for one."""

import math
import traceback
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

TOLERANCE = 1e-4  # of results near 1: an answer may be worked out in float32


class Wrong(Exception):
    """What is wrong with an answer, in a sentence or two that lead on."""


class NotWritten(Wrong):
    """There is no answer yet."""


def ask(function: Callable, *inputs: Any) -> Any:
    """The answer to some inputs, of which the function is given copies.

    Raises: NotWritten for a stub; Wrong if the function stops with any other error.
    """
    try:
        return function(*(given.clone() if isinstance(given, Tensor) else given for given in inputs))
    except NotImplementedError:
        raise NotWritten from None
    except Wrong:
        raise
    except Exception as error:
        if "numpy() on Tensor that requires grad" in str(error):
            raise Wrong("It leaves torch for numpy. Compute in torch: this grader also asks for gradients, and numpy "
                        "has none.") from None
        place = traceback.extract_tb(error.__traceback__)[-1]
        shapes = ", ".join(str(tuple(given.shape)) for given in inputs if isinstance(given, Tensor))
        raise Wrong(f"It stopped with {type(error).__name__}: {str(error).splitlines()[0] if str(error) else '-'} "
                    f"(line {place.lineno} of {place.filename.rpartition('/')[2]}). "
                    f"The tensors that it was given have the shapes {shapes or '-'}.") from None


class WatchAutograd(TorchFunctionMode):
    """Notes whether anything that torch computes within it is ready to be differentiated."""

    def __init__(self) -> None:
        super().__init__()
        self.used = False

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.used |= isinstance(result, Tensor) and result.requires_grad
        return result


def tensor(found: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """An answer as a tensor without gradients. Raises: Wrong if it is none, is not finite, or has another shape."""
    if not isinstance(found, Tensor):
        raise Wrong(f"{what} should be a tensor, and is of type {type(found).__name__}.")
    if tuple(found.shape) != shape:
        raise Wrong(f"{what} should have the shape {shape}, and has {tuple(found.shape)}.")
    if not found.isfinite().all():
        raise Wrong(f"{what} has numbers that are not finite (nan or infinity).")
    return found.detach().double() if found.is_floating_point() else found.detach()


def several(found: Any, *wanted: tuple[tuple[int, ...], str]) -> list[Tensor]:
    """A tuple of answers as tensors. Raises: Wrong if there are not as many as wanted, or one is wrong."""
    names = ", ".join(what for _, what in wanted)
    if not isinstance(found, tuple | list) or len(found) != len(wanted):
        raise Wrong(f"It should return {len(wanted)} tensors: {names}.")
    return [tensor(part, shape, what) for part, (shape, what) in zip(found, wanted)]


def number(found: Any, what: str) -> float:
    """An answer as a number, itself or as a tensor of one element. Raises: Wrong if it is none, or not finite."""
    single = isinstance(found, Tensor) and found.numel() == 1
    if not single and (isinstance(found, bool) or not isinstance(found, Real)):
        raise Wrong(f"{what} should be one number, and is of type {type(found).__name__}.")
    value = float(found.detach() if isinstance(found, Tensor) else found)
    if not math.isfinite(value):
        raise Wrong(f"{what} is not finite (nan or infinity).")
    return value


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two answers of one shape agree."""
    return torch.allclose(a.double(), b.double(), rtol=TOLERANCE, atol=TOLERANCE)


def require(holds: bool, complaint: str) -> None:
    """Raises: Wrong, with the complaint, unless the condition holds."""
    if not holds:
        raise Wrong(complaint)


def drawn(*shape: int, seed: int) -> Tensor:
    """Numbers from a standard normal distribution, float64, the same each time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
