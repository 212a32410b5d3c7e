"""The fastest way to run a network that will not be trained any more."""

from microglia.runtime.inference import accelerate
from microglia.runtime.memory import keep_freed_memory

__all__ = ["accelerate", "keep_freed_memory"]
