"""Instructions, counted by Valgrind's callgrind.

A process below callgrind tells it when to begin and what to write down by a sequence of machine
instructions that means nothing elsewhere ("client request" in Valgrind's manual); with it the
start of the interpreter is neither counted nor slow. The sequence is that of x86-64.
"""

from __future__ import annotations

import ctypes
import mmap
import re
from collections.abc import Awaitable, Callable, Iterable

_CODE = bytes.fromhex(
    "4889f8"  # mov rax, rdi: the request and its arguments
    "31d2"  # xor edx, edx: the answer without Valgrind
    "48c1c703 48c1c70d 48c1c73d 48c1c733"  # rol rdi by 3, 13, 61 and 51, which is once around
    "4887db"  # xchg rbx, rbx
    "4889d0 c3"  # mov rax, rdx; ret
)
_BASE = ord("C") << 24 | ord("T") << 16
_ZERO, _DUMP_AT, _START = _BASE + 1, _BASE + 3, _BASE + 4


async def count(name: str, run: Callable[[int], Awaitable[object]], *numbers: int) -> None:
    """Count the instructions of a process for each number; :func:`counted` reads them."""
    valgrind = _Valgrind()
    valgrind.request(_START)
    for number in numbers:
        valgrind.request(_ZERO)
        await run(number)
        valgrind.request(_DUMP_AT, f"{name}={number}".encode())


def counted(dumps: Iterable[str]) -> dict[str, float]:
    """Read the files that callgrind wrote: the instructions for one unit, by name."""
    found: dict[str, dict[int, int]] = {}
    for dump in dumps:
        name = re.search(r"^desc: Trigger: Client Request: (.+)=(\d+)$", dump, re.MULTILINE)
        total = re.search(r"^totals: (\d+)$", dump, re.MULTILINE)
        if name and total:
            found.setdefault(name[1], {})[int(name[2])] = int(total[1])
    return {
        name: (totals[max(totals)] - totals[min(totals)]) / (max(totals) - min(totals))
        for name, totals in found.items()
    }


class _Valgrind:
    """Takes client requests, and takes no notice of them where there is no Valgrind."""

    def __init__(self) -> None:
        access = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        self._memory = mmap.mmap(-1, mmap.PAGESIZE, prot=access)
        self._memory.write(_CODE)
        self._buffer = ctypes.c_char.from_buffer(self._memory)
        function = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)
        self._execute = function(ctypes.addressof(self._buffer))

    def request(self, number: int, text: bytes = b"") -> None:
        kept = ctypes.create_string_buffer(text)
        arguments = (ctypes.c_uint64 * 6)(number, ctypes.addressof(kept))
        self._execute(ctypes.addressof(arguments))
