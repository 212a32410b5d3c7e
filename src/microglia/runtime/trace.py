"""Who writes and who reads each block of memory while a network runs once.

Folding a norm and computing in place are right only if nobody else looks at a tensor. A dispatch
mode sees every ATen operation, so the answer doesn't depend on how the network is written.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# What `contiguous`, `reshape` and `to` come down to. Whether they copy depends on layout, batch and
# precision, so a later run may well look at the same memory where this one made a copy.
_PERHAPS_COPIES = {"aten::clone", "aten::_to_copy"}


@dataclass(frozen=True)
class View:
    """A way to look at a block of memory; equal views show the same numbers in the same order.

    A block and its mere copies count as one.
    """

    block: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class Operation:
    """One ATen operation; those that only look at memory in another way are not recorded."""

    name: str
    """Without the overload: 'aten::convolution'."""
    module: str
    """The innermost module that was running."""
    arguments: tuple[Any, ...]
    """Positional arguments, a `View` in the place of each tensor."""
    keywords: bool
    """Whether there were others."""
    output: View | None
    """The first tensor that it returned."""


@dataclass(frozen=True)
class Call:
    """One call of a module with one tensor that returned one tensor."""

    input: View
    output: View
    inside: range
    """The operations that ran inside, by their place in `Trace.operations`."""


class Trace(TorchDispatchMode):
    """Record a run: `with Trace(model) as trace: trace.returned(model(x))`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self.calls: dict[str, list[Call]] = defaultdict(list)
        self.unclear: set[str] = set()
        """Modules that were called in another way than with one tensor for one tensor."""
        self.touching: dict[int, list[int]] = defaultdict(list)
        """Block -> the operations that read or write it, by their place in `operations`."""
        self.made: set[int] = set()
        """Blocks that an operation of this run has allocated."""
        self.kept: set[int] = set()
        """Blocks that outlive the run: returned, or held by a module."""
        self._model = model
        self._blocks: dict[int, int] = {}
        self._count = 0
        self._running: list[tuple[str, int]] = []
        self._handles: list[Any] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else PyTorch imports its whole compiler at the first operation

    def __enter__(self) -> Trace:  # type: ignore[override, unused-ignore]
        for name, module in self._model.named_modules():
            leave = self._leave(name)
            self._handles += [
                module.register_forward_pre_hook(self._enter(name), prepend=True),
                module.register_forward_hook(leave, with_kwargs=True, always_call=True),
            ]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exc: Any) -> None:
        super().__exit__(*exc)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()

    def returned(self, output: Any) -> None:
        """What the network gave back; with what its modules hold, it outlives the run."""
        held = [list(vars(module).values()) for module in self._model.modules()]
        self.kept |= {self.view(x).block for x in _tensors((output, held))}

    def view(self, x: Tensor) -> View:
        """How the tensor looks at its memory."""
        address = _address(x)
        if address not in self._blocks:
            self._blocks[address] = self._new_block()
        offset = int(x.storage_offset())
        return View(self._blocks[address], offset, tuple(x.shape), tuple(x.stride()))

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        given = {self.view(x).block for x in _tensors((args, kwargs))}
        arguments = tuple(self.view(x) if isinstance(x, Tensor) else x for x in args)
        out = func(*args, **kwargs)
        results = _tensors(out)
        # What an operation returns is memory that it was given, or new memory, which may well
        # begin where some that was freed began.
        new = {_address(y) for y in results if self._blocks.get(_address(y)) not in given}
        for address in new:
            if func._schema.name in _PERHAPS_COPIES:
                self._blocks[address] = self.view(args[0]).block
            else:
                self._blocks[address] = self._new_block()
                self.made.add(self._blocks[address])
        if new or not results or func._schema.is_mutable:
            for block in given | {self.view(y).block for y in results}:
                self.touching[block].append(len(self.operations))
            self.operations.append(
                Operation(
                    name=func._schema.name,
                    module=self._running[-1][0] if self._running else "",
                    arguments=arguments,
                    keywords=bool(kwargs),
                    output=self.view(results[0]) if results else None,
                )
            )
        return out

    def _new_block(self) -> int:
        self._count += 1
        return self._count

    def _enter(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            self._running.append((name, len(self.operations)))

        return hook

    def _leave(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            _, begin = self._running.pop()
            alone = len(args) == 1 and isinstance(args[0], Tensor) and not kwargs
            if not alone or not isinstance(output, Tensor):
                self.unclear.add(name)
                return
            inside = range(begin, len(self.operations))
            self.calls[name].append(Call(self.view(args[0]), self.view(output), inside))

        return hook


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


def _address(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()
