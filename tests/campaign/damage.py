"""Files damaged by chance: bytes, and JSON that is still JSON."""

import json
import math
import random
from typing import Any

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, -0.0, 2**31, 2**63, 2**200, 1e9, 1e308, -1e308, math.nan, math.inf, -math.inf),
    *(
        "",
        " ",
        "x",
        "../x",
        "/etc/passwd",
        "a/b",
        "a\0b",
        "\x1b[31mred",
        "\ud800",
        "🎵",
        "$x^",
        "<script>",
        "|",
        "nul",
        "x" * 5000,
    ),
    *([], {}, [[]], [None], {"": None}, [1] * 1000),
)


def bytes_damaged(data: bytes, chance: random.Random) -> bytes:
    """A file after one to three accidents: cut, bits flipped, pieces lost, doubled, zeroed or moved, numbers made extreme."""
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if not made:
            return b""
        # Headers decide most, and stand in front or, of some formats, at the end.
        near = min(len(made), 256)
        at = chance.choice((chance.randrange(near), len(made) - 1 - chance.randrange(near), chance.randrange(len(made))))
        size = min(len(made) - at, chance.choice((1, 2, 4, 8, 64, 1024, len(made) // 4 + 1)))
        match chance.randrange(9):
            case 0:
                del made[at:]
            case 1:
                made[at] ^= 1 << chance.randrange(8)
            case 2:
                del made[at : at + size]
            case 3:
                made[at : at + size] = bytes(size)
            case 4:
                made[at:at] = made[at : at + size]
            case 5:
                made[at : at + size] = chance.randbytes(size)
            case 6:
                width = chance.choice((1, 2, 4, 8))
                number = chance.choice(EXTREMES) & (1 << 8 * width) - 1
                made[at : at + width] = number.to_bytes(width, chance.choice(("little", "big")))
            case 7:
                made[at:at] = chance.randbytes(size)
            case _:
                made = made[at:] + made[:at]
    return bytes(made)


def json_damaged(value: Any, chance: random.Random) -> Any:
    """JSON with one place in it changed: another value, a key less, more or renamed, a list shorter or longer."""
    places = list(_places(value))
    if not places or chance.random() < 0.05:
        return chance.choice(ODD)
    owner, key = chance.choice(places)
    match chance.randrange(5):
        case 0 if isinstance(owner, dict):
            del owner[key]
        case 1 if isinstance(owner, dict):
            owner[chance.choice(("", "x", "\ud800", key + "x"))] = owner.pop(key)
        case 2 if isinstance(owner, list):
            owner[key:] = owner[:key] * 2
        case 3 if isinstance(owner[key], int | float) and not isinstance(owner[key], bool):
            owner[key] = chance.choice((-1, 0, 1e3, 1e9, -1e-9)) * (owner[key] or 1)
        case _:
            owner[key] = chance.choice(ODD)
    return value


def text_damaged(text: str, chance: random.Random) -> bytes:
    """A JSON file: damaged as JSON, as bytes, or as something that no JSON is."""
    match chance.randrange(6):
        case 0:
            return bytes_damaged(text.encode(), chance)
        case 1:
            return chance.choice((b"", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b"1" * 6000, b'"\\ud800"', b"NaN"))
        case _:
            return json.dumps(json_damaged(json.loads(text), chance)).encode()


def _places(value: Any) -> Any:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from _places(inner)
