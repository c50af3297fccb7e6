"""Reading results.json: sections of samples, each with the machine, versions and commit they were measured with."""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kerasep.errors import KerasepError

RESULTS = "results.json"
WIDE = 0.25  # of the median: an interquartile range that readers should know of


def load(path: Path) -> dict[str, Any]:
    """The sections of a results file, by name.

    Raises:
        KerasepError: it is not a results file.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if not result or any(not {"machine", "versions", "commit"} <= set(section) for section in result.values()):
            raise ValueError("no section with a machine")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise KerasepError(f"{path}: not a results.json of python -m benchmarks ({error}): measure again") from error
    return result


def cases(latency: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each file with each of its cases."""
    return ((file, case) for file in latency["files"] for case in file["cases"])


def ran_on(case: dict[str, Any]) -> str:
    """What ran a case, in a few words. Earlier results have ONNX Runtime's long names.

    Example:
        >>> ran_on({"provider": "CPUExecutionProvider"}), ran_on({"provider": "cuda", "memory": "cuda"})
        ('cpu', 'cuda, without copies')
    """
    name, colon, options = case["provider"].partition(":")
    text = name.removesuffix("ExecutionProvider").lower() + colon + options
    return f"{text}, without copies" if case.get("memory") else text


def quantile(samples: list[float], share: float) -> float:
    """The sample below which this share of them lies.

    Example:
        >>> quantile([3.0, 1.0, 2.0, 4.0], 0.75)
        4.0
    """
    return sorted(samples)[min(len(samples) - 1, int(share * len(samples)))]


def spread(samples: list[float]) -> float:
    """The interquartile range as a share of the median.

    Example:
        >>> round(spread([1.0, 1.0, 1.1, 1.2]), 4)
        0.1905
    """
    return (quantile(samples, 0.75) - quantile(samples, 0.25)) / statistics.median(samples)
