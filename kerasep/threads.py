"""How many threads a computation may have."""

import os


def threads(asked: int | None = None) -> int | None:
    """What was asked for, else the environment's OMP_NUM_THREADS, as most numerical programs have it; None leaves the choice.

    Example:
        >>> threads(3)
        3
    """
    if asked:
        return asked
    value = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # "4,2" is for nested loops
    return int(value) if value.isdecimal() and int(value) else None


def workers(asked: int | None = None) -> int:
    """Threads of a pool of our own: as many as the cores that this process may use, where nobody chose."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(threads(asked) or cores, cores)
