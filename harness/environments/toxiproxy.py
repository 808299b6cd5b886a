"""Toxiproxy: the server, and an adapter over toxiproxy-python that gives that client what it lacks.

toxiproxy-python keeps the server's address in one class attribute, so a second client redirects the first; it has no
timeouts, honours the user's proxy settings, and raises on 400, 404 and 409 only: ``enable()`` on a port that somebody
else took gets HTTP 500 and returns as if all were well. Here each client is a private copy of the library, with an
address and an HTTP session of its own: every call is bounded, every other answer than 2xx is an error, and each
change is read back. Calls run one after the other on a thread of the proxy's own, off the event loop: a call that was
cancelled has ended before the healing that follows it begins.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any, TypeVar

import requests

from harness.core.environment import Toxic
from harness.core.errors import ComponentError, HealError
from harness.core.verdict import Json

#: Bounds of one HTTP call: to connect, and between two bytes of the answer.
_CALL_TIMEOUT_S = (1.0, 3.0)
#: Bound of one operation of ``CellProxy``: a few calls, perhaps behind one that is stuck.
OPERATION_LIMIT_S = 12.0
_LIBRARY = "toxiproxy"
_RAISED_BY_LIBRARY = (400, 404, 409)

_numbers = itertools.count()
_T = TypeVar("_T")


class _BoundedSession(requests.Session):
    """What the library takes for the ``requests`` module: bounded, direct, and strict about answers."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.max_redirects = 0

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs.setdefault("timeout", _CALL_TIMEOUT_S)
        response = super().request(method, url, *args, **kwargs)
        if not 200 <= response.status_code < 300 and response.status_code not in _RAISED_BY_LIBRARY:
            raise ComponentError(f"Toxiproxy answered HTTP {response.status_code}: {response.text.strip()[:300]}")
        return response


class ToxiproxyClient:
    """One server's API. Blocking, bounded; every failure is a ComponentError. Not for use across a fork."""

    def __init__(self, host: str, port: int) -> None:
        self.address = f"{host}:{port}"
        self._session = _BoundedSession()
        self._library = _private_library(host, port, self._session)
        self._server = self._library.Toxiproxy()

    def close(self) -> None:
        self._session.close()

    def version(self) -> str:
        """What the server says it is; it answers ``{"version": "2.12.0"}``."""
        return str(
            self._call("asking for the version", lambda: self._session.get(self._url("/version")).json()["version"])
        )

    def create(self, name: str, listen: str, upstream: str) -> Any:
        """A new proxy, enabled; read back."""
        self._call(f"creating proxy {name}", lambda: self._server.create(upstream, name, listen=listen, enabled=True))
        proxy = self.proxy(name)
        self._confirm(proxy.enabled and proxy.upstream == upstream, f"proxy {name} was created but is not as ordered")
        return proxy

    def proxy(self, name: str) -> Any:
        """The library's Proxy, fresh from the server; ComponentError if there is none."""
        found = self._call(f"reading proxy {name}", lambda: self._server.get_proxy(name))
        self._confirm(found is not None, f"there is no proxy {name}")
        return found

    def proxy_names(self) -> tuple[str, ...]:
        return tuple(self._call("listing the proxies", self._server.proxies))

    def listens(self) -> tuple[str, ...]:
        """Where the proxies listen, as the server says it."""
        proxies = self._call("listing the proxies", self._server.proxies)
        return tuple(str(proxy.listen) for proxy in proxies.values())

    def destroy(self, name: str) -> None:
        """Remove a proxy; no error if it is gone."""
        if name in self.proxy_names():
            self._call(f"removing proxy {name}", self.proxy(name).destroy)

    def set_enabled(self, name: str, enabled: bool) -> None:
        proxy = self.proxy(name)
        what = f"{'enabling' if enabled else 'disabling'} proxy {name}"
        self._call(what, proxy.enable if enabled else proxy.disable)
        self._confirm(self.proxy(name).enabled is enabled, f"{what}: the server still says the opposite")

    def add_toxic(self, name: str, toxic: Toxic) -> Mapping[str, Json]:
        """Install it with toxicity 1.0 and return what the server then says of it."""
        what = f"adding toxic {toxic.name} ({toxic.type}) to proxy {name}"
        proxy = self.proxy(name)
        order: dict[str, Json] = {"name": toxic.name, "type": toxic.type, "stream": toxic.stream, "toxicity": 1.0}
        self._call(what, lambda: proxy.add_toxic(**order, attributes=dict(toxic.attributes)))
        stands = self._call(what, lambda: proxy.get_toxic(toxic.name))
        self._confirm(
            stands is not None
            and (stands.type, stands.stream, stands.toxicity) == (toxic.type, toxic.stream, 1.0)
            and dict(toxic.attributes).items() <= stands.attributes.items(),
            f"{what}: the server says {vars(stands) if stands else 'there is none'}",
        )
        return {**order, "attributes": dict(stands.attributes)}

    def remove_toxic(self, name: str, toxic: str) -> None:
        """Remove it; no error if it is not there."""
        proxy = self.proxy(name)
        if toxic in self.toxics(name):
            self._call(f"removing toxic {toxic} from proxy {name}", lambda: proxy.destroy_toxic(toxic))
            self._confirm(toxic not in self.toxics(name), f"toxic {toxic} still stands on proxy {name}")

    def toxics(self, name: str) -> tuple[str, ...]:
        return tuple(self._call(f"reading the toxics of proxy {name}", self.proxy(name).toxics))

    def _url(self, path: str) -> str:
        return f"http://{self.address}{path}"

    def _confirm(self, truth: bool, message: str) -> None:
        if not truth:
            raise ComponentError(f"Toxiproxy at {self.address}: {message}")

    def _call(self, what: str, call: Callable[[], _T]) -> _T:
        exceptions = self._library.exceptions
        try:
            return call()
        except (requests.RequestException, ComponentError, ValueError, KeyError, TypeError) as error:
            raise ComponentError(f"Toxiproxy at {self.address}: {what}: {error}") from error
        except (exceptions.ProxyExists, exceptions.NotFound, exceptions.InvalidToxic) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ComponentError(f"Toxiproxy at {self.address}: {what}: {reason}") from error


def _private_library(host: str, port: int, session: requests.Session) -> ModuleType:
    """A copy of toxiproxy-python whose global address and HTTP functions belong to one client alone."""
    found = importlib.util.find_spec(_LIBRARY)
    if found is None or found.origin is None:
        raise ComponentError("the package toxiproxy-python is not installed; pip install toxiproxy-python")
    name = f"_poolproof_toxiproxy_{next(_numbers)}"
    spec = importlib.util.spec_from_file_location(
        name, found.origin, submodule_search_locations=list(found.submodule_search_locations or ())
    )
    assert spec is not None
    assert spec.loader is not None
    library = importlib.util.module_from_spec(spec)
    sys.modules[name] = library
    try:
        spec.loader.exec_module(library)
        api = sys.modules[f"{name}.api"]
        library.__dict__["exceptions"] = sys.modules[f"{name}.exceptions"]
    finally:
        for module in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
            del sys.modules[module]
    api.__dict__["requests"] = session
    consumer = api.__dict__["APIConsumer"]
    consumer.host, consumer.port = host, port
    return library


class CellProxy:
    """The proxy of one cell: implements ``core.environment.Proxy``. Made and used inside one running loop."""

    def __init__(self, api: tuple[str, int], name: str, listen: str, upstream: str) -> None:
        self.name = name
        self.api = api
        self._listen = listen
        self._upstream = upstream
        self._client = ToxiproxyClient(*api)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"toxiproxy-{name}")

    async def open(self) -> None:
        """Create it on the server."""
        await self._off_loop(lambda: self._client.create(self.name, self._listen, self._upstream))

    async def close(self) -> None:
        """Delete it from the server, which ends every connection through it."""
        try:
            await self._off_loop(lambda: self._client.destroy(self.name))
        finally:
            self._thread.shutdown(wait=False)
            self._client.close()

    async def add_toxic(self, toxic: Toxic) -> Mapping[str, Json]:
        return await self._off_loop(lambda: self._client.add_toxic(self.name, toxic))

    async def remove_toxic(self, name: str) -> None:
        await self._off_loop(lambda: self._heal(lambda: self._client.remove_toxic(self.name, name)))

    async def toxics(self) -> tuple[str, ...]:
        return await self._off_loop(lambda: self._client.toxics(self.name))

    async def enabled(self) -> bool:
        """What the server says of the proxy's port."""
        return bool(await self._off_loop(lambda: self._client.proxy(self.name).enabled))

    async def set_enabled(self, enabled: bool) -> Mapping[str, Json]:
        await self._off_loop(lambda: self._client.set_enabled(self.name, enabled))
        return {"proxy": self.name, "enabled": enabled}

    async def reset(self) -> None:
        await self._off_loop(lambda: self._heal(self._remove_all))

    def _remove_all(self) -> None:
        for toxic in self._client.toxics(self.name):
            self._client.remove_toxic(self.name, toxic)
        if not self._client.proxy(self.name).enabled:
            self._client.set_enabled(self.name, True)

    def _heal(self, gently: Callable[[], None]) -> None:
        """When healing fails, make our own proxy anew; other cells' proxies on this server stay as they are."""
        try:
            gently()
        except ComponentError as first:
            try:
                self._client.destroy(self.name)
                self._client.create(self.name, self._listen, self._upstream)
            except ComponentError as second:
                raise HealError(f"{first}; then making the proxy anew failed too: {second}") from first

    async def _off_loop(self, call: Callable[[], _T]) -> _T:
        try:
            async with asyncio.timeout(OPERATION_LIMIT_S):
                return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except TimeoutError as error:
            raise ComponentError(
                f"Toxiproxy, proxy {self.name}: no end of the call within {OPERATION_LIMIT_S:g} s"
            ) from error
