"""One HTTP exchange with an endpoint: bounded in time and size, no redirects, the key kept quiet.

A reply of any status comes back as `Http`, a missing one as a `Failure` of the right kind. The size
cap holds for the unpacked body: replies are asked for as they are, and if one comes packed anyway,
it is unpacked up to the cap.
"""

from __future__ import annotations

import asyncio
import errno
import warnings
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from spct.engines.retry import Failure
from spct.engines.unpack import TooLarge, Unreadable, as_utf8, unpacked
from spct.errors import ConfigError, EndpointError, EngineError

CONNECT_TIMEOUT_S = 10.0
LOOPBACK = {"localhost", "127.0.0.1", "::1"}

SECRET_CHARS = 8  # no provider's key is shorter


@dataclass(frozen=True, slots=True)
class Http:
    """One HTTP reply, read to its end, and the address that it came from."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str = ""


class Transport:
    """Keeps the connections to one endpoint. `path` arguments are relative to `base_url`."""

    def __init__(self, *, base_url: str, api_key: str, max_reply_bytes: int) -> None:
        self.base_url = checked_url(base_url)
        self.max_reply_bytes = max_reply_bytes
        check_key(api_key)
        # a word as short as "x" or "EMPTY" is no secret, and would be found in honest replies
        self._secret = api_key.encode() if len(api_key) >= SECRET_CHARS else None
        self._headers = CIMultiDict(
            {
                "authorization": f"Bearer {api_key}",
                "content-type": "application/json",
                "accept": "application/json",
                "accept-encoding": "identity",
            }
        )
        self._urls: dict[str, URL] = {}
        self._proxy = _proxy(self.base_url)
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def url(self, path: str) -> str:
        """The address of a route, for messages."""
        return f"{self.base_url}/{path}"

    async def exchange(
        self, method: str, path: str, body: bytes | None, timeout_s: float
    ) -> Http | Failure:
        """Send one request and read its reply; raise only where no retry can help."""
        if path not in self._urls:  # parsed once
            self._urls[path] = URL(self.url(path), encoded=True)
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        try:
            async with self._open_session().request(
                method,
                self._urls[path],
                data=body,
                headers=self._headers,
                timeout=timeout,
                allow_redirects=False,
                proxy=self._proxy,
            ) as reply:
                read = await self._read(reply)
                if self._secret and self._secret in read:
                    # what a server says is kept in errors and records, and it may echo the key
                    read = read.replace(self._secret, b"***")
                return Http(reply.status, reply.headers, read, self.url(path))
        except TooLarge:
            cap = f"max_reply_bytes ({self.max_reply_bytes:,})"
            return Failure("final", f"the reply is larger than {cap}; raise it if need be")
        except Unreadable as error:
            return Failure("garbage", str(error))
        except aiohttp.ClientSSLError as error:
            raise EndpointError(
                f"connecting to {self.base_url}: TLS failed ({error}); expected a valid "
                "certificate for this host; check the address, its scheme and SSL_CERT_FILE"
            ) from None
        except aiohttp.ConnectionTimeoutError:
            return Failure("down", f"no connection within {CONNECT_TIMEOUT_S:g} s")
        except TimeoutError:
            return Failure("timeout", f"no complete reply within {timeout_s:.3g} s")
        except aiohttp.ClientPayloadError as error:
            return Failure("garbage", f"the reply broke off: {error}")
        except (aiohttp.ClientError, OSError) as error:
            if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
                return Failure("rate_limited", "too many open files here; see `ulimit -n`")
            # str only: an aiohttp error's repr may hold the request's headers, and so the key
            return Failure("down", f"{type(error).__name__}: {error}")

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None:
            self._loop = loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
            # else aiohttp tells the user of an "Unclosed client session" when nobody closed it
            weakref.finalize(self, _close_quietly, self._session)
        if self._loop is not loop:
            raise EngineError(
                f"calling {self.base_url}: this engine was opened in another event loop; "
                "close it there, or make one engine a loop"
            )
        return self._session

    async def _read(self, reply: aiohttp.ClientResponse) -> bytes:
        cap = self.max_reply_bytes
        parts, size = [], reply.content_length or 0
        if size <= cap:
            size = 0
            while part := await reply.content.readany():
                parts.append(part)
                size += len(part)
                if size > cap:
                    break
        if size > cap:
            reply.close()
            raise TooLarge
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if encoding := ",".join(reply.headers.getall("content-encoding", ())):
            body = unpacked(body, encoding, cap)
        return as_utf8(body, reply.headers.get("content-type", ""))


def check_key(key: str) -> None:
    """Refuse a key that no HTTP header can carry whole; it is not shown, only what is wrong."""
    for place, char in enumerate(key, 1):
        if not "!" <= char <= "~":
            raise ConfigError(
                f"reading the API key: character {place} of {len(key)} is U+{ord(char):04X}; "
                "expected visible ASCII characters only, as a header carries nothing else; check "
                "the variable that it comes from"
            )


def _close_quietly(session: aiohttp.ClientSession) -> None:
    """Close a session whose loop is gone, as a rule, so that nothing can be awaited."""
    connector = session.connector
    session.detach()
    with warnings.catch_warnings(action="ignore"), suppress(RuntimeError):
        if connector is not None:
            aiohttp.BaseConnector.close(connector)  # a TCPConnector's own is a coroutine


def checked_url(base_url: str) -> str:
    """The base URL without a slash at its end, or a `ConfigError`."""
    try:
        parts = urlsplit(base_url.strip())
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise ConfigError(f"the base URL is {_shown(base_url)!r}, which is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise ConfigError(
            f"the base URL is {_shown(base_url)!r}; expected something like "
            "http://127.0.0.1:8000/v1 or https://host/v1"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            f"the base URL {_shown(base_url)!r} holds a user, a password, a query or a fragment; "
            "expected scheme, host, port and path; give the key in OPENAI_API_KEY"
        )
    return base_url.strip().rstrip("/")


def _shown(url: str) -> str:
    """The URL with what may be secret cut out."""
    start, _, rest = url.partition("://")
    host = rest.rpartition("@")[2].partition("?")[0].partition("#")[0]
    return f"{start}://{host}" if rest else start.rpartition("@")[2].partition("?")[0]


def _proxy(base_url: str) -> str | None:
    """The environment's proxy for this endpoint; found once, because looking it up is slow."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if host in LOOPBACK or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)
