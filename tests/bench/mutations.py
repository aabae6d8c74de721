"""Files as accidents, editors and strangers leave them: what the fuzz tests, and ``reliability.py``, put before the readers.

Every function takes its choices from a ``random.Random`` and has no other state, so that a failure can be had again from its seed; a test
hands in one of hypothesis', which makes failures small.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from testbed.store import seal_of

STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3.5, -0.0, 1e308, 10**12, 2**63, 10**30, float("nan"), float("inf")),
    *("", "x", "a\nb", "\0", "\ud800", "../../x", "/etc/passwd", "os:system", "[/red]", "0" * 64, "é" * 300),
    *([], {}, [[]], [1, 2], ["a", 3], {"a": 1}, {"use": "pca"}, {"truth": []}, {"value": 1, "parts": {}}),
)
"""Values of other types, sizes and contents than anyone expects."""


def bytes_of(data: bytes, chance: Random) -> bytes:
    """A file with one to three accidents: bits flipped, the end cut off, pieces lost, doubled, overwritten, or all of it another."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        n = len(found)
        at, length = chance.randint(0, n), chance.choice((1, 2, 8, 64, 1000))
        match chance.randint(0, 6):
            case 0 if n:
                found[min(at, n - 1)] ^= 1 << chance.randint(0, 7)
            case 1:
                del found[at:]
            case 2:
                del found[at : at + length]
            case 3:
                found[at:at] = bytes(chance.randint(0, 255) for _ in range(min(length, 64)))
            case 4:
                found[at:at] = found[at : at + length]
            case 5:
                found[at : at + 8] = chance.choice(
                    (b"\xff" * 8, b"\0" * 8, b"[" * 3000, b'{"a":' * 3000, b"NaN", b"9" * 5000, b"\x80\x04c")
                )
            case 6 if chance.randint(0, 9) == 0:
                found = bytearray(chance.choice((b"", b"\0" * 100, b"PK\x03\x04" + b"\0" * 50, b"PAR1" + b"\0" * 50 + b"PAR1")))
    return bytes(found)


def deep(chance: Random) -> Any:
    """Something that nests: a little, or far too much."""
    found: Any = 1
    for _ in range(chance.choice((3, 90, 400))):
        found = [found] if chance.randint(0, 1) else {"use": found}
    return found


def places(tree: Any) -> list[tuple[Any, ...]]:
    """Every place in JSON, the whole first."""
    found: list[tuple[Any, ...]] = [()]
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), tree)]
    while waiting:
        path, holder = waiting.pop()
        for key, value in holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ():
            found.append((*path, key))
            waiting.append((found[-1], value))
    return found


def tree_of(tree: Any, chance: Random) -> Any:
    """JSON with one to three places changed: other values, keys lost or renamed, lists of other lengths, two places swapped."""
    found = json.loads(json.dumps(tree))
    for _ in range(chance.randint(1, 3)):
        known = places(found)
        *above, last = chance.choice(known[1:]) if len(known) > 1 else (None, None)
        if last is None:
            return copy.deepcopy(chance.choice(STRANGE))
        holder = found
        for key in above:
            holder = holder[key]
        match chance.randint(0, 7):
            case 0:
                del holder[last]
            case 1 if isinstance(holder, dict):
                holder[chance.choice(("", "x", "../x", "a/b", "__class__", f"{last}_"))] = holder.pop(last)
            case 1 | 2 if isinstance(holder, list):
                holder.extend(holder[: chance.randint(1, 2)])
            case 3 if isinstance(holder[last], int | float) and not isinstance(holder[last], bool):
                holder[last] = holder[last] * chance.choice((-1, 0, 1.5, 10**9)) + chance.choice((0, 1, -1))
            case 4:
                other = chance.choice(known)
                value: Any = tree
                try:
                    for key in other:
                        value = value[key]
                except (KeyError, IndexError, TypeError):
                    continue
                holder[last] = json.loads(json.dumps(value))
            case 5 if chance.randint(0, 4) == 0:
                holder[last] = deep(chance)
                break  # what nests too deep to be copied is changed no more
            case _:
                holder[last] = copy.deepcopy(chance.choice(STRANGE))
    return found


def text_of(tree: Any) -> bytes:
    """JSON as a file, NaN and half characters and all."""
    return json.dumps(tree).encode()


def sealed(record: Any) -> Any:
    """A record with the hash that it should have, as far as it can have one."""
    if isinstance(record, dict):
        record.pop("digest", None)
        try:
            return record | {"digest": seal_of(record)}
        except (ValueError, TypeError, KeyError):
            return record
    return record


def arrays_of(data: bytes, chance: Random) -> bytes:
    """A safetensors file whose header was changed: sizes, types, offsets, names, or the length of the header itself."""
    length = int.from_bytes(data[:8], "little")
    body = data[8 + length :]
    try:
        header = json.loads(data[8 : 8 + length])
    except ValueError:
        return bytes_of(data, chance)
    match chance.randint(0, 4):
        case 0:
            wrong = chance.choice((0, length - 1, length + 1, 10**6, 2**40, 2**64 - 1))
            return wrong.to_bytes(8, "little") + data[8:]
        case 1:
            return data[: 8 + length] + bytes_of(body, chance)
        case 2:
            names = [name for name in header if name != "__metadata__"]
            a, b = chance.choice(names), chance.choice(names)
            header[a], header[b] = header[b], header[a]
        case 3:
            about = header[chance.choice([name for name in header if name != "__metadata__"])]
            about["dtype"] = chance.choice(("F64", "F32", "F16", "BF16", "I64", "I32", "U8", "BOOL", "X9"))
            size = about["data_offsets"][1] - about["data_offsets"][0]
            about["shape"] = chance.choice(([size // 8], [size // 4], [size // 4, 1], [1, size // 4], [], [0], [2**60], [2**40, 2**40]))
        case _:
            header = tree_of(header, chance)
    text = json.dumps(header).encode("utf-8", errors="replace")
    return len(text).to_bytes(8, "little") + text + body


# ------------------------------------------------------------------------------------------------------------ what is watched

_watched: dict[str, Any] = {"inside": None, "seen": []}
_CALLS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class")
_WRITES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "shutil.rmtree")


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    inside = _watched["inside"]
    if inside is None:
        return
    if event in _CALLS:
        _watched["seen"].append(f"{event}{arguments!r:.200}")
    elif event in _WRITES or (event == "open" and _writes(arguments[1], arguments[2])):
        path = arguments[0]
        if isinstance(path, str | Path) and not _is_harmless(Path(path), inside):
            _watched["seen"].append(f"{event}{arguments!r:.200}")


def _is_harmless(path: Path, inside: Path) -> bool:
    """Whether it matters to nobody that a file is written: a device, or Python's own cache of a module that is imported."""
    return path == Path(os.devnull) or "__pycache__" in path.parts or path.resolve().is_relative_to(inside)


def _writes(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str):
        return bool(set(mode) & set("wax+"))
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


_hooked: list[bool] = []


@contextmanager
def watched(inside: Path, seconds: float = 10.0) -> Iterator[None]:
    """Nothing is started, unpickled, or written outside `inside` meanwhile, and it takes no longer than `seconds`."""
    if not _hooked:
        sys.addaudithook(_hook)  # for good: a hook cannot be taken away
        _hooked.append(True)
    _watched["inside"], _watched["seen"] = inside.resolve(), []
    clock = time.perf_counter()
    try:
        yield
    finally:
        _watched["inside"] = None
    assert not _watched["seen"], _watched["seen"]
    assert time.perf_counter() - clock < seconds


@contextmanager
def spoiled(path: Path, data: bytes) -> Iterator[None]:
    """A file that holds something else for a while."""
    before = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(before)


Reader = Callable[[], object]


def read(reader: Reader, inside: Path, expected: tuple[type[Exception], ...]) -> str:
    """What comes of a reader: "" if it takes what it reads, else the one sentence in which it refuses it.

    Any other exception goes on; a refusal that is no sentence (of two lines, or without a word) fails.
    """
    with watched(inside):
        try:
            reader()
        except expected as error:
            said = str(error)
            assert "\n" not in said, said
            assert len(said.split()) > 2, said
            return said
    return ""
