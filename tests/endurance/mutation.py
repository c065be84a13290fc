"""Damaged files: valid ones, changed as disks, networks, careless hands and strangers change them.

Every damage follows from a random generator alone, so a seed and a number bring it back.
"""

from __future__ import annotations

import copy
import io
import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

TRAVERSAL = ("../../outside", "/etc/hostname", "..", ".", "a/../../b", "C:\\x", "~", "\x00", "a\nb\x1b[31m", "x" * 5000)
STRANGE_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3.5, 2**31, 2**63, -(2**63), 2**100, 10**300, 1e308, -1e308, 1e-320),
    *(float("nan"), float("inf"), float("-inf"), "", "x", "1", "nan", "\ud800", [], {}, [[]], [1, "a", None]),
    *TRAVERSAL,
)
STRANGE_WORDS = (
    *("", "nan", "inf", "-inf", "1e999", "1e308", "-1", "0", "²", "٣", "--5", "0x10", "1_0", '"', "'", ",", ",,", ";"),
    *("\x00", "\ufeff", "9" * 5000, "x" * 200_000, "\r", "é", *TRAVERSAL),
)
STRANGE_TYPES = ("|O", "<U9", "|V7", "<c16", "|b1", ">f8", "<i8", "<m8", "|S0", "[('a', '<i4')]", "x", "<f2", "|u1")
DEEP = 100_000

Damage = Callable[[bytes, random.Random], bytes]


def damaged(name: str, content: bytes, draws: random.Random) -> bytes:
    """A file, damaged in a way that suits its kind, or in one that suits any.

    Args:
        name: of the file; its ending says what it is.
        content: valid.
        draws: of the damage.
    """
    kinds = BY_ENDING.get(name.rpartition(".")[2], [])
    if kinds and draws.random() < 0.6:
        return draws.choice(kinds)(content, draws)
    result = content
    for _ in range(draws.choice((1, 1, 1, 2, 4))):
        result = draws.choice(ANY_FILE)(result, draws)
    return result


def flip_bits(content: bytes, draws: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draws.randint(1, 8) if changed else 0):
        changed[place(changed, draws)] ^= 1 << draws.randrange(8)
    return bytes(changed)


def place(content: bytes | bytearray, draws: random.Random) -> int:
    """Where something is changed: half of the time near the beginning, where headers are."""
    length = len(content)
    return draws.randrange(min(length, 64) if draws.random() < 0.5 else length)


def overwrite(content: bytes, draws: random.Random) -> bytes:
    if not content:
        return content
    start, length = place(content, draws), draws.randint(1, 64)
    new = draws.choice((draws.randbytes(length), b"\0" * length, b"\xff" * length))
    return content[:start] + new[: len(content) - start] + content[start + length :]


def extreme_number(content: bytes, draws: random.Random) -> bytes:
    """A number of two, four or eight bytes that is zero, the largest or the most negative."""
    kind, value = draws.choice((("H", 2**16 - 1), ("I", 2**32 - 1), ("I", 2**31 - 1), ("Q", 2**63 - 1), ("I", 0)))
    raw = struct.pack(draws.choice("<>") + kind, value)
    if len(content) <= len(raw):
        return raw
    start = min(place(content, draws), len(content) - len(raw))
    return content[:start] + raw + content[start + len(raw) :]


def cut(content: bytes, draws: random.Random) -> bytes:
    if not content:
        return content
    start, stop = sorted((place(content, draws), draws.randrange(len(content))))
    return draws.choice((content[:start], content[stop:], content[:start] + content[stop:]))


def splice(content: bytes, draws: random.Random) -> bytes:
    """A part of the file once more, somewhere else."""
    if not content:
        return content
    start, stop = sorted(draws.randrange(len(content)) for _ in range(2))
    at = place(content, draws)
    return content[:at] + content[start : min(stop, start + 2**16)] + content[at:]


def foreign(content: bytes, draws: random.Random) -> bytes:
    """Something else altogether."""
    headers = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"PK\x03\x04", b"[" * DEEP, b'{"a":' * DEEP)
    others = (b"", b"\0", b"NaN", *headers)
    return draws.choice((*others, draws.randbytes(draws.randrange(2000)), content * 20))


def other_json(content: bytes, draws: random.Random) -> bytes:
    """JSON with other values, fields, names or no end of brackets."""
    value = json.loads(content)
    for _ in range(draws.choice((1, 1, 2, 5))):
        value = changed_value(value, draws)
    text = json.dumps(value)
    if draws.random() < 0.05:
        text = text.replace("null", "[" * DEEP + "]" * DEEP, 1)
    return text.encode("utf-8", "surrogatepass")


def json_lines(content: bytes, draws: random.Random) -> bytes:
    lines = content.splitlines()
    for _ in range(draws.choice((1, 1, 3))):
        number = draws.randrange(len(lines))
        lines[number] = other_json(lines[number], draws)
    return b"\n".join(lines) + b"\n"


def changed_value(value: Any, draws: random.Random) -> Any:
    """A value with one place of it changed."""
    value = copy.deepcopy(value)
    places = list(containers(value))
    if not places:
        return draws.choice(STRANGE_VALUES)
    holder = draws.choice(places)
    keys: list[Any] = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    key, kind = draws.choice(keys), draws.random()
    if kind < 0.6:
        holder[key] = draws.choice(STRANGE_VALUES)
    elif kind < 0.75:
        del holder[key]
    elif kind < 0.85:
        holder[key] = [copy.deepcopy(holder[key])] * draws.choice((1, 2, 100))
    elif isinstance(holder, dict):
        holder[draws.choice((*TRAVERSAL[:8], "x"))] = holder.pop(key) if draws.random() < 0.5 else holder[key]
    else:
        holder.append(holder[key])
    return value


def containers(value: Any) -> Iterator[Any]:
    """All dictionaries and lists of a value that hold something."""
    if isinstance(value, dict | list) and value:
        yield value
        for entry in list(value.values() if isinstance(value, dict) else value)[:50]:
            yield from containers(entry)


def other_words(content: bytes, draws: random.Random) -> bytes:
    """A table with other words, lines or separators."""
    lines = content.decode("utf-8", "replace").split("\n")
    for _ in range(draws.choice((1, 1, 3))):
        number = draws.randrange(len(lines))
        for separator in (",", " "):
            words = lines[number].split(separator)
            if len(words) > 1:
                break
        kind = draws.random()
        if kind < 0.7:
            words[draws.randrange(len(words))] = draws.choice(STRANGE_WORDS)
        elif kind < 0.8:
            words.pop()
        elif kind < 0.9:
            words.append(draws.choice(STRANGE_WORDS))
        else:
            lines.insert(number, lines[draws.randrange(len(lines))])
        lines[number] = separator.join(words)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def other_array(content: bytes, draws: random.Random) -> bytes:
    """A .npy file whose header promises something else."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    assert version == (1, 0)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    lengths = [list(shape), [-1], [2**62], [2**32, 2**32], [0], [], [1] * 40, [*shape, 10**6]]
    promised: dict[str, Any] = {"descr": dtype.str, "fortran_order": fortran, "shape": tuple(shape)}
    changes = draws.random()
    if changes < 0.5:
        promised["shape"] = tuple(draws.choice(lengths))
    if changes > 0.3:
        promised["descr"] = draws.choice(STRANGE_TYPES)
    if changes > 0.9:
        promised.pop(draws.choice(list(promised)))
    text = draws.choice((repr(promised), repr(promised), "(" * 9000, "{" * 300, "__import__('os')", "'" + "\\" * 9))
    header = text.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content[stream.tell() :]


def other_tensors(content: bytes, draws: random.Random) -> bytes:
    """A .safetensors file whose header promises something else."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    body = content[8 + length :]
    kind = draws.random()
    if kind < 0.2:
        return content[:8] + content[8 : 8 + length] + not_numbers(body, draws)
    names = [name for name in header if name != "__metadata__"]
    name = draws.choice(names) if names else "__metadata__"
    if not names:
        header = {"a": draws.choice(STRANGE_VALUES)}
    elif kind < 0.4:
        header[name]["dtype"] = draws.choice(("F64", "F16", "BF16", "BOOL", "I64", "U8", "F8_E4M3", "C64", "?", "U16"))
    elif kind < 0.5:
        header["../../" + name] = header.pop(name)
    else:
        header = changed_value(header, draws)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    size = len(text) if draws.random() < 0.9 else draws.choice((2**63, 2**40, 0, len(text) - 1))
    return size.to_bytes(8, "little") + text + body


def not_numbers(body: bytes, draws: random.Random) -> bytes:
    """NaN and infinity in the middle of float32 values."""
    if len(body) < 4:
        return body
    at = draws.randrange(len(body) // 4) * 4
    return body[:at] + struct.pack("<f", draws.choice((float("nan"), float("inf"), 3e38))) + body[at + 4 :]


ANY_FILE: list[Damage] = [flip_bits, overwrite, extreme_number, cut, splice, foreign]
BY_ENDING: dict[str, list[Damage]] = {
    "json": [other_json],
    "jsonl": [json_lines],
    "log": [json_lines],
    "csv": [other_words],
    "txt": [other_words],
    "cat": [other_words],
    "npy": [other_array],
    "safetensors": [other_tensors],
}
