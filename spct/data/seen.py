"""Which ids and contents a file has shown before, in about 30 bytes each, however long they are."""

from __future__ import annotations

from array import array


class Seen:
    """A set of 64-bit keys, with the number of the row that brought each of them first.

    Open addressing in two flat arrays: a dict of texts takes ten times the memory, and a file may
    have millions of rows. Two different keys are taken for one with a chance of n * n / 2**65.
    """

    def __init__(self) -> None:
        self._keys = array("Q", bytes(8 * 1024))
        self._rows = array("Q", bytes(8 * 1024))
        self._n = 0

    def add(self, key: int, row: int) -> int:
        """Return the row that brought the key first, or 0 if it is this one."""
        key = (key & 0xFFFF_FFFF_FFFF_FFFF) or 1  # 0 marks an empty place
        keys, mask = self._keys, len(self._keys) - 1
        at = (key ^ (key >> 32)) & mask
        while found := keys[at]:
            if found == key:
                return self._rows[at]
            at = (at + 1) & mask
        keys[at], self._rows[at] = key, row
        self._n += 1
        if 2 * self._n > len(keys):
            self._grow()
        return 0

    def _grow(self) -> None:
        old = zip(self._keys, self._rows, strict=True)
        size = 16 * len(self._keys)
        self._keys, self._rows = array("Q", bytes(size)), array("Q", bytes(size))
        self._n = 0
        for key, row in old:
            if key:
                self.add(key, row)
