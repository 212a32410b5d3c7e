"""Run a network on real tensors and watch which channels meet which.

A dispatch mode sees every ATen operation; each one has a rule in `rules/` that says how
labels pass through it. What arrives with no history, or passes an operation without a rule,
is pinned or refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from microglia.errors import StructureError
from microglia.frameworks import first_tensor, neuron_kind
from microglia.structure.labels import Labels, varying
from microglia.structure.records import Mark, Reading, Synapses, address
from microglia.structure.rules import pass_labels

NORMS = (nn.modules.batchnorm._BatchNorm,)


@dataclass
class Storage:
    """Who wrote a block of memory and who reads it; decides where a gate may write in place."""

    writer: str = ""
    """The ATen operation that wrote it last."""
    owner: str = ""
    """The layer or norm whose output it is."""
    readers: set[str] = field(default_factory=set)
    """Neurons that read it; '' for any other reader."""


class Trace(TorchDispatchMode):
    """Everything that a run or two of the network tell about its channels."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model
        self.labels = Labels()
        self.synapses: list[Synapses] = []
        self.uses = 0
        """How many of these the first pass over the network made."""
        self.neurons: list[Reading] = []
        self.outputs: list[Reading] = []
        self.sums: list[Tensor] = []
        """Atoms of residual sums: two streams added."""
        self.layers: set[str] = set()
        """Modules that hold synapses."""
        self.inside_neurons: set[str] = set()
        """Layers that run inside a neuron, whose current its input gate can't hold back."""
        self.refused: dict[str, str] = {}
        """Operation -> the layer where it was met."""
        self.leaves = named_leaves(model)
        self._marks: dict[int, Mark] = {}
        self._alive: list[Tensor] = []
        self._storages: dict[int, Storage] = {}
        self._stack: list[str] = []
        self._inside: list[str] = []
        self._handles: list[Any] = []
        self._looking = False  # our own hooks compute with shadows, not with the network
        for index, (_, leaf) in enumerate(self.leaves):
            self._mark_leaf(index, leaf)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else PyTorch imports its whole compiler at the first operation

    # --- the run ---------------------------------------------------------------------------

    def __enter__(self) -> Trace:  # type: ignore[override, unused-ignore]
        for name, module in self.model.named_modules():
            self._handles.append(
                module.register_forward_pre_hook(self._enter(name), with_kwargs=True, prepend=True)
            )
            self._handles.append(module.register_forward_hook(self._leave(name), always_call=True))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exc: Any) -> None:
        super().__exit__(*exc)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()

    def end_of_pass(self) -> None:
        """The network was run once."""
        self.uses = len(self.synapses)

    def inputs(self, tensors: Iterator[Tensor]) -> None:
        """The network's inputs: none of their channels can be removed."""
        for x in tensors:
            self._set(x, Mark([]))

    def pin_output(self, tensors: Iterator[Tensor]) -> None:
        """The network's outputs: the user reads every channel of them."""
        for y in tensors:
            for shadow in self.mark(y).shadows:
                self.labels.pin(shadow, "it is the network's output")

    def _enter(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            self._stack.append(name)
            if not args and kwargs and (neuron_kind(module) or isinstance(module, NORMS)):
                raise StructureError(
                    f"{name}: called by keyword ({', '.join(kwargs)}=...), where no gate can stand;"
                    " pass its input by position"
                )
            if neuron_kind(module) is not None:
                self._inside.append(name)
                current = first_tensor(args)
                reading = self._reading(name, current)
                if reading is not None:
                    self.neurons.append(reading)

        return hook

    def _leave(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            self._stack.pop()
            if output is None:
                return  # the module's forward failed
            if self._inside and self._inside[-1] == name:
                self._inside.pop()
                for y in tree_leaves(output):
                    if isinstance(y, Tensor) and id(y) in self._marks:
                        self._marks[id(y)].sources = frozenset({name})
            elif isinstance(module, NORMS) or name in self.layers:
                y = first_tensor(output)
                mark = self._marks.get(id(y))
                if mark is None or name not in mark.sources:
                    return
                self._storage(y).owner = name
                reading = self._reading(name, y)
                if reading is not None:
                    self.outputs.append(reading)

        return hook

    def _reading(self, name: str, x: Tensor) -> Reading | None:
        self._looking = True
        try:
            return self._read_channels(name, x)
        finally:
            self._looking = False

    def _read_channels(self, name: str, x: Tensor) -> Reading | None:
        mark = self.mark(x)
        if len(mark.shadows) != 1 or len(varying(mark.shadows[0])) != 1:
            return None
        shadow = mark.shadows[0]
        (dim,) = varying(shadow)
        return Reading(name, x.shape, shadow.reshape(-1), dim - x.dim(), mark.sources, address(x))

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if self._looking:
            return out
        pass_labels(self, func, args, kwargs, out)
        return out

    # --- what the rules ask and tell -------------------------------------------------------

    @property
    def where(self) -> str:
        """The module that is running, for messages."""
        return self._stack[-1] if self._stack and self._stack[-1] else "the network's forward"

    @property
    def layer(self) -> str:
        """The innermost module that is running."""
        return self._stack[-1] if self._stack else ""

    @property
    def neuron(self) -> str:
        """The neuron that is running, '' outside of one."""
        return self._inside[-1] if self._inside else ""

    def mark(self, x: Tensor) -> Mark:
        """What is known of a tensor.

        Raises:
            StructureError: the tensor came from outside the network and the trace.
        """
        mark = self._marks.get(id(x))
        if mark is not None:
            return mark
        if x.numel() == 1:
            return Mark([], weak=True)
        raise StructureError(
            f"{self.where}: a tensor of shape {tuple(x.shape)} arrives with no history "
            "(from NumPy, a foreign kernel, or a closure), so its channels can't be followed. "
            "Make it a buffer of the module, or compute it with torch operations."
        )

    def set(self, x: Tensor, mark: Mark) -> None:
        """What is known of an operation's result."""
        self._set(x, mark)

    def wrote(self, x: Tensor, writer: str) -> None:
        """An operation wrote new values into the memory of a tensor."""
        storage = self._storage(x)
        storage.writer = writer
        storage.owner = ""

    def synapse(self, use: Synapses) -> None:
        """A weight was used."""
        self.synapses.append(use)
        self.layers.add(use.layer)
        if self.neuron:
            self.inside_neurons.add(use.layer)

    def has_alias(self, x: Tensor) -> bool:
        """Another tensor looks at the same memory."""
        return any(y is not x and address(y) == address(x) for y in self._alive)

    def read(self, x: Tensor) -> None:
        """Somebody reads the values of a tensor (looking at it another way doesn't count)."""
        self._storage(x).readers.add(self.neuron)

    def storage(self, address: int) -> Storage:
        """Who wrote and who reads the memory at an address that a `Reading` names."""
        return self._storages[address]

    def refuse(self, op: str, tensors: list[Tensor], why: str) -> None:
        """Pin everything that an operation without a rule touches."""
        self.refused.setdefault(op, self.where)
        for x in tensors:
            for shadow in self.mark(x).shadows:
                self.labels.pin(shadow, f"{why} in {self.where}")

    def _set(self, x: Tensor, mark: Mark) -> None:
        self._marks[id(x)] = mark
        self._alive.append(x)  # so that no id is used twice while the trace lasts

    def _storage(self, x: Tensor) -> Storage:
        return self._storages.setdefault(address(x), Storage())

    def _mark_leaf(self, index: int, leaf: Tensor) -> None:
        shadows = []
        for dim, size in enumerate(leaf.shape):
            if size > 1:
                shape = [1] * leaf.dim()
                shape[dim] = size
                shadows.append(self.labels.new(index, dim, size).reshape(shape))
        self._set(leaf, Mark(shadows, static=True))


def named_leaves(model: nn.Module) -> list[tuple[tuple[str, ...], Tensor]]:
    """Every tensor that the network keeps, each once with all its names.

    Parameters, buffers, and tensors held as plain attributes of a module.
    """
    names: dict[int, list[str]] = {}
    tensors: dict[int, Tensor] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        held = {**module._parameters, **module._buffers, **vars(module)}
        for attribute, value in held.items():
            if isinstance(value, Tensor):
                name = f"{prefix}.{attribute}" if prefix else attribute
                tensors[id(value)] = value
                known = names.setdefault(id(value), [])
                if name not in known:
                    known.append(name)
    return [(tuple(names[key]), tensor) for key, tensor in tensors.items()]
