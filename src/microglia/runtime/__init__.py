"""The fastest way to run a network, and to train one."""

from microglia.runtime.inference import accelerate
from microglia.runtime.learning import accelerated_training
from microglia.runtime.memory import keep_freed_memory
from microglia.runtime.sparse import csr_bytes, csr_savings, sparsify

__all__ = [
    "accelerate",
    "accelerated_training",
    "csr_bytes",
    "csr_savings",
    "keep_freed_memory",
    "sparsify",
]
