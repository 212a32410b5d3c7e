"""When a method acts."""

from __future__ import annotations

from dataclasses import dataclass

from microglia.errors import ConfigError


@dataclass(frozen=True)
class Interval:
    """Every so many optimizer steps, after a warm-up, until the masks are settled."""

    every: int
    """Optimizer steps between two updates."""
    warmup: int = 0
    """Steps before which nothing happens."""
    until: int | None = None
    """The last step at which something may happen; None for no end."""

    def __post_init__(self) -> None:
        for name in ("every", "warmup", "until"):
            value = getattr(self, name)
            least = 1 if name == "every" else 0
            if value is not None and (type(value) is not int or value < least):
                raise ConfigError(
                    f"{name} is a number of optimizer steps, at least {least}; got {value!r}"
                )
        if self.until is not None and self.until < self.first:
            raise ConfigError(
                f"until={self.until} comes before the first update, which is at step {self.first}"
            )

    @property
    def first(self) -> int:
        """The first step at which the method may act."""
        return self.every * max(1, -(-self.warmup // self.every))

    def due(self, step: int) -> bool:
        """Whether the method acts after this optimizer step (counted from 1)."""
        late = self.until is not None and step > self.until
        return step >= self.warmup and step % self.every == 0 and not late

    def due_or_last(self, step: int) -> bool:
        """Whether it acts after this step, `until` itself being no multiple of `every` or one."""
        return step == self.until or self.due(step)
