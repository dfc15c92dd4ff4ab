"""What came up before, in a few bytes each: a file or a run may have millions of rows."""

from __future__ import annotations

from array import array


class Seen:
    """A set of 64-bit keys, with the number of the row that brought each of them first.

    Open addressing in two flat arrays, 24 to 48 bytes per key: a dict of texts takes ten times the
    memory. Two different keys are taken for one with a chance of n * n / 2**65.
    """

    def __init__(self) -> None:
        self._keys, self._rows = _empty(2**16)
        self._mask = 2**16 - 1
        self._left = 2**15  # until half of the places are taken

    def __len__(self) -> int:
        return len(self._keys) // 2 - self._left

    def add(self, key: int, row: int) -> int:
        """Return the row that brought the key first, or 0 if it is this one."""
        key = (key & 0xFFFF_FFFF_FFFF_FFFF) or 1  # 0 marks an empty place
        keys, mask = self._keys, self._mask
        at = (key ^ (key >> 32)) & mask
        while found := keys[at]:
            if found == key:
                return self._rows[at]
            at = (at + 1) & mask
        keys[at], self._rows[at] = key, row if row <= 0xFFFF_FFFF else 0xFFFF_FFFF
        self._left -= 1
        if not self._left:
            self._grow()
        return 0

    def __contains__(self, key: int) -> bool:
        key = (key & 0xFFFF_FFFF_FFFF_FFFF) or 1
        keys, mask = self._keys, self._mask
        at = (key ^ (key >> 32)) & mask
        while found := keys[at]:
            if found == key:
                return True
            at = (at + 1) & mask
        return False

    def _grow(self) -> None:
        old = zip(self._keys, self._rows, strict=True)
        size = 2 * len(self._keys)
        keys, rows = _empty(size)
        mask = size - 1
        for key, row in old:  # all of them differ, so that each takes the first empty place
            if key:
                at = (key ^ (key >> 32)) & mask
                while keys[at]:
                    at = (at + 1) & mask
                keys[at], rows[at] = key, row
        self._keys, self._rows, self._mask, self._left = keys, rows, mask, size // 4


def _empty(size: int) -> tuple[array[int], array[int]]:
    return array("Q", bytes(8 * size)), array("I", bytes(4 * size))


class Names:
    """A set of names, such as the ids of a run, that keeps no text.

    Of two names of one hash the reader of a file takes the second for a repeated id and refuses
    it, so none is lost to the other here without a word.
    """

    def __init__(self) -> None:
        self._seen = Seen()

    def __len__(self) -> int:
        return len(self._seen)

    def __contains__(self, name: object) -> bool:
        return hash(name) in self._seen

    def add(self, name: str) -> None:
        """Take a name in."""
        self._seen.add(hash(name), 1)
