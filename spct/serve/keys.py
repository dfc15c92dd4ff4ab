"""Who may call: named keys, kept as digests, compared in constant time, read again on change.

A key file has one `name key [scopes]` per line; a `#` at a word's beginning starts a comment. `key`
may be given as `sha256:<hex>` of the key, so that the file holds no secret. Scopes are `judge`
(every POST) and `read` (metrics, the schema, the version), both by default. The environment
variable SPCT_GATEWAY_KEYS holds the same entries separated by commas, or one lone key, which is
then named "default". A key is read whole or refused: half a key that still matches is a back door.
"""

from __future__ import annotations

import hmac
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from spct.errors import ConfigError

_log = logging.getLogger("spct.serve")
ENV = "SPCT_GATEWAY_KEYS"
SCOPES = frozenset({"judge", "read"})
MIN_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Key:
    """A caller's key: its name is what logs and metrics say."""

    name: str
    digest: bytes
    scopes: frozenset[str] = SCOPES


def parse_keys(lines: Sequence[str], source: str) -> tuple[Key, ...]:
    """Read one entry per line; errors name the line and never show the key."""
    entries = [(n, words) for n, line in enumerate(lines, 1) if (words := _words(line))]
    keys: dict[str, Key] = {}
    for number, words in entries:
        where = f"{source}, entry {number}"
        if len(words) == 1:
            if len(entries) > 1:
                raise ConfigError(
                    f"{where}: expected `name key`, got one word. A key without a name must be "
                    "the only entry; a key that holds a comma belongs in --keys-file"
                )
            words = ["default", *words]
        name, secret, *scopes = words
        asked = frozenset(scopes) or SCOPES
        if not asked <= SCOPES:
            raise ConfigError(
                f"{where}: expected `name key [scopes]`, where scopes are judge and read; a key "
                f"holds no spaces ({len(asked - SCOPES)} words are neither)"
            )
        if name in keys:
            raise ConfigError(f"{where}: a second key named {name!r}; names must differ")
        keys[name] = Key(name, _digest_of(secret, where), asked)
    return tuple(keys.values())


def _words(line: str) -> list[str]:
    words = line.split()
    comment = next((i for i, word in enumerate(words) if word.startswith("#")), len(words))
    return words[:comment]


def _digest_of(secret: str, where: str) -> bytes:
    if secret.startswith("sha256:"):
        try:
            digest = bytes.fromhex(secret[7:])
        except ValueError:
            digest = b""
        if len(digest) != 32:
            raise ConfigError(f"{where}: sha256: must be followed by 64 hexadecimal digits")
        return digest
    if not (secret.isascii() and secret.isprintable()):
        raise ConfigError(f"{where}: a key travels in a header: ASCII letters, digits and signs")
    if len(secret) < MIN_LENGTH:
        raise ConfigError(f"{where}: the key is shorter than {MIN_LENGTH} characters")
    return sha256(secret.encode()).digest()


class Keyring:
    """The keys of the environment and of a file; `find` is the only way to ask for one."""

    def __init__(
        self,
        environ: Mapping[str, str],
        path: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        check_every_s: float = 1.0,
    ) -> None:
        self._fixed = parse_keys(re.split(r"[,\n]", environ.get(ENV, "")), ENV)
        self._path, self._clock, self._check_every_s = path, clock, check_every_s
        self._stamp: tuple[int, int] | None = None
        self._from_file: tuple[Key, ...] = ()
        self._checked_at = clock()
        if path is not None:
            self._stamp, self._from_file = _read(path)
            if not self._from_file:
                raise ConfigError(f"the key file {str(path)!r} holds no key; write `name key`")

    @property
    def keys(self) -> tuple[Key, ...]:
        """Every key that is valid now."""
        self._refresh()
        return (*self._fixed, *self._from_file)

    def find(self, presented: bytes) -> Key | None:
        """The key that was presented, or None; takes as long for every wrong one."""
        digest = sha256(presented).digest()
        found: Key | None = None
        for key in self.keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def _refresh(self) -> None:
        if self._path is None or self._clock() < self._checked_at + self._check_every_s:
            return
        self._checked_at = self._clock()
        try:
            if _stamp(self._path) != self._stamp:
                self._stamp, self._from_file = _read(self._path)
        except ConfigError as error:  # perhaps half written: the keys stay as they were
            _log.warning("keys unchanged: %s", error)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise ConfigError(f"cannot read the key file {str(path)!r}: {error.strerror}") from error
    return stat.st_mtime_ns, stat.st_size


def _read(path: Path) -> tuple[tuple[int, int], tuple[Key, ...]]:
    stamp = _stamp(path)
    try:
        return stamp, parse_keys(path.read_text("utf-8-sig").split("\n"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the key file {str(path)!r}: {error}") from error
