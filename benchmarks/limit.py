"""What the machine can do at best, and the least time of a computation that follows from it.

    python benchmarks/limit.py [--threads 1] [--device cpu] [--repeats 10]

As a script it prints the machine's rates. Other benchmarks count their work with `count` and measure the rates, and
all convolutions by themselves, in the same rounds as the work. docs/performance.md says what the limits mean.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from harness import Report, Timing, common_arguments, measure, prepare, run, settings, write_report

MATRIX_SIZES = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192)}
CHANNELS = {"cpu": (128, 256, 512), "cuda": (256, 512, 1024)}
PRODUCT_OPERATIONS = {"cpu": 2**33, "cuda": 2**42}
"""Enough for tens of milliseconds: a shorter call may fall into a pause of a busy machine or miss it."""
COPIED_BYTES = {"cpu": 2**28, "cuda": 2**30}
"""Far more than any cache holds."""
ADAM_BYTES = 10 * 4
"""Of each trained float32 number in a step: its value is read forward, backward and by Adam and written once, its
gradient written and read, both moments read and written. Clipping needs all gradients before the first update, so
fewer passes will not do."""
TAKES_MEMORY = {"aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty", "aten::_unsafe_view"}
OVERWRITES = {"aten::copy_", "aten::fill_", "aten::zero_", "aten::normal_", "aten::uniform_"}
"""Operations that do not read what they are given to write to."""
CONVOLUTION = torch.ops.aten.convolution.default
CONVOLUTION_BACKWARD = torch.ops.aten.convolution_backward.default


@dataclass(frozen=True)
class Layout:
    """Size, strides and type of a tensor."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def tensor(self, device: str) -> Tensor:
        """Random numbers in this layout."""
        values = torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=device)
        if 0 in self.stride:
            return values.fill_(0.5)  # an expanded tensor: all entries share their memory
        return values.normal_()


@dataclass(frozen=True)
class Convolution:
    """One call of a convolution or of its backward pass: the layouts of its tensors, the rest as it was given."""

    backward: bool
    tensors: tuple[Layout | None, ...]
    options: tuple[Any, ...]

    def call(self, device: str) -> Callable[[], object]:
        """The same call with random numbers."""
        tensors = [None if layout is None else layout.tensor(device) for layout in self.tensors]
        options = [list(option) if isinstance(option, tuple) else option for option in self.options]
        operation = CONVOLUTION_BACKWARD if self.backward else CONVOLUTION
        return lambda: operation(*tensors, *options)


@dataclass(frozen=True)
class Work:
    """What a computation does.

    Attributes:
        operations: floating-point operations of convolutions and matrix products (a multiply-add is two), forward and
            backward.
        traffic_bytes: sizes of all that each tensor operation reads and writes, views not counted: the traffic if no
            two operations shared a cache or were fused.
        kept_bytes: sizes of the distinct tensors that the forward pass keeps for the backward pass, parameters not
            counted.
        convolutions: how often each distinct convolution was called.
    """

    operations: int
    traffic_bytes: int
    kept_bytes: int
    convolutions: Counter[Convolution]

    def least_bytes(self, parameters: Iterable[Tensor]) -> int:
        """Bytes that a training step has to move: what backward needs is written and read once, see `ADAM_BYTES`."""
        return 2 * self.kept_bytes + ADAM_BYTES * sum(parameter.numel() for parameter in parameters)


class _Counter(TorchDispatchMode):
    """Sees every tensor operation, forward and backward, below autograd."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.traffic_bytes = 0
        self.convolutions: Counter[Convolution] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        packet = func._overloadpacket
        if packet in flop_registry:
            self.operations += int(flop_registry[packet](*args, **kwargs, out_val=result))
        self.traffic_bytes += moved_bytes(func, args, kwargs, result)
        if func in (CONVOLUTION, CONVOLUTION_BACKWARD):
            first = 2 + (func is CONVOLUTION_BACKWARD)  # output's gradient, input, weight
            if func is CONVOLUTION:
                first += 1  # bias
            options = tuple(tuple(option) if isinstance(option, list) else option for option in args[first:])
            tensors = tuple(None if tensor is None else _layout(tensor) for tensor in args[:first])
            self.convolutions[Convolution(func is CONVOLUTION_BACKWARD, tensors, options)] += 1
        return result


def count(call: Callable[[], object], parameters: Iterable[Tensor] = ()) -> Work:
    """Run a computation once and count what it does.

    Args:
        call: forward and backward pass, or any other.
        parameters: tensors whose storage is not counted among what is kept for the backward pass.
    """
    known = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            # What is kept stays alive until it is used in the backward pass, so that in a forward pass addresses
            # do not repeat; of several forward passes the largest tensor at each address counts.
            kept[storage.data_ptr()] = max(kept.get(storage.data_ptr(), 0), storage.nbytes())
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor), _Counter() as counter:
        call()
    return Work(counter.operations, counter.traffic_bytes, sum(kept.values()), counter.convolutions)


def size_bytes(value: object) -> int:
    """Bytes of a tensor's distinct numbers, 0 for anything else."""
    if not isinstance(value, Tensor):
        return 0
    numbers = 1
    for length, stride in zip(value.shape, value.stride(), strict=True):
        numbers *= length if stride or not length else 1
    return numbers * value.element_size()


def moved_bytes(func: Any, args: Any, kwargs: Any, result: Any) -> int:
    """What a tensor operation reads and writes; nothing if it makes a view or only takes memory."""
    name, schema = func._overloadpacket._qualified_op_name, func._schema
    aliases = [value.alias_info for value in schema.returns]
    if name in TAKES_MEMORY or (aliases and all(alias is not None and not alias.is_write for alias in aliases)):
        return 0
    read = [args[1:] if name in OVERWRITES else args, kwargs]
    written = result
    if not schema.returns:  # changes lists of tensors in place
        written = [
            value
            for value, argument in zip(args, schema.arguments, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
    return sum(size_bytes(value) for value in tree_leaves((read, written)))


def convolutions_call(work: Work, device: str) -> Callable[[], object]:
    """All convolutions of a computation by themselves, as often as it calls them."""
    calls = [(convolution.call(device), times) for convolution, times in work.convolutions.items()]

    def call() -> None:
        with torch.no_grad():
            for single, times in calls:
                for _ in range(times):
                    single()

    return call


@dataclass(frozen=True)
class Product:
    """Large products of numbers, the kind of work that a machine does fastest.

    Attributes:
        name: what is computed.
        operations: of one call.
        call: computes it, as often as makes `PRODUCT_OPERATIONS`.
    """

    name: str
    operations: int
    call: Callable[[], object]


def matrix_product(size: int, device: str, dtype: torch.dtype) -> Product:
    """Two square matrices, in the arithmetic that convolutions use (on CUDA that may be TF32)."""
    first, second = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    result = torch.empty_like(first)
    times = _times(2 * size**3, device)

    def call() -> None:
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
        try:
            for _ in range(times):
                torch.mm(first, second, out=result)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before

    return Product(f"matrices {size}x{size}", 2 * size**3 * times, call)


def convolution_product(channels: int, device: str, dtype: torch.dtype) -> Product:
    """A 3x3 convolution of many channels: on some processors faster than the library of matrix products."""
    maps, kernel = torch.randn(8, channels, 32, 32, device=device), torch.randn(channels, channels, 3, 3, device=device)
    maps, kernel = (value.to(dtype).to(memory_format=torch.channels_last) for value in (maps, kernel))
    operations = 2 * maps.numel() * kernel[0].numel()
    times = _times(operations, device)

    def call() -> None:
        for _ in range(times):
            torch.conv2d(maps, kernel, padding=1)

    return Product(f"3x3 convolution of {channels} channels", operations * times, call)


def best_products(device: str, dtype: torch.dtype) -> dict[str, Product]:
    """The fastest matrix product and the fastest convolution of a few sizes."""
    kind = torch.device(device).type
    found = {}
    for name, make, sizes in (
        ("matrices", matrix_product, MATRIX_SIZES[kind]),
        ("convolution", convolution_product, CHANNELS[kind]),
    ):
        candidates = {str(size): make(size, device, dtype) for size in sizes}
        times = measure({size: candidate.call for size, candidate in candidates.items()}, 2, 1, device)
        best = max(candidates, key=lambda size: candidates[size].operations / times[size].minimum_ms)
        found[name] = candidates[best]
    return found


def _times(operations: int, device: str) -> int:
    return max(1, round(PRODUCT_OPERATIONS[torch.device(device).type] / operations))


def copy_call(device: str) -> Callable[[], object]:
    """Copying an array that no cache holds."""
    source = torch.ones(COPIED_BYTES[torch.device(device).type] // 4, device=device)
    target = torch.zeros_like(source)
    return lambda: target.copy_(source)


@dataclass(frozen=True)
class Rates:
    """What the machine does at best.

    Attributes:
        gflops: 1e9 floating-point operations a second in large products, of matrices or as a convolution, whichever is
            faster.
        copy_gb_per_s: 1e9 bytes read plus written a second by copying.
    """

    gflops: float
    copy_gb_per_s: float

    def operations_ms(self, operations: int) -> float:
        """Least time of so many operations."""
        return operations / (self.gflops * 1e6)

    def bytes_ms(self, moved: int) -> float:
        """Least time of moving so many bytes."""
        return moved / (self.copy_gb_per_s * 1e6)


def rates(products: Mapping[str, Product], times: Mapping[str, Timing], copy: Timing, device: str) -> Rates:
    """Rates from the median times of `best_products` and `copy_call`."""
    moved = 2 * COPIED_BYTES[torch.device(device).type]
    gflops = max(product.operations / (times[name].median_ms * 1e6) for name, product in products.items())
    return Rates(gflops, moved / (copy.median_ms * 1e6))


def rates_json(products: Mapping[str, Product], times: Mapping[str, Timing]) -> dict[str, Any]:
    """Time and rate of each product, for a report."""
    return {
        name: {
            "what": product.name,
            "time": times[name],
            "gflops": product.operations / (times[name].median_ms * 1e6),
        }
        for name, product in products.items()
    }


def computes_in_bfloat16(device: str) -> bool:
    """Whether the processor or GPU has instructions for it; others are slower in it than in float32."""
    if device != "cpu":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            words = set(file.read().split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16"})


def _layout(tensor: Tensor) -> Layout:
    return Layout(tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype)


def parameters_of(*modules: nn.Module) -> list[nn.Parameter]:
    """All distinct parameters, trained or frozen."""
    return list({id(p): p for module in modules for p in module.parameters()}.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    arguments = parser.parse_args()
    description = prepare(arguments)
    device = arguments.device
    types = {"float32": torch.float32}
    if computes_in_bfloat16(device):
        types["bf16"] = torch.bfloat16
    results: dict[str, Any] = {}
    for name, dtype in types.items():
        products = best_products(device, dtype)
        calls = {product: products[product].call for product in products}
        times = measure(calls | {"copy": copy_call(device)}, arguments.repeats, device=device)
        found = rates(products, times, times["copy"], device)
        results[name] = rates_json(products, times) | {"best_gflops": found.gflops}
        results["copy"] = {"time": times["copy"], "gb_per_s": found.copy_gb_per_s}
    write_report(arguments.out, Report("limit", settings(arguments), description, results))


if __name__ == "__main__":
    run(main)
