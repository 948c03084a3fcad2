"""ModernBERT for encoding on a CPU: weights laid out once, attention and element-wise work in kernels of its own."""

from .engine import CpuNetwork

__all__ = ["CpuNetwork"]
