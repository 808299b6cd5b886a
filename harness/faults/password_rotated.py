"""The password changes, and with it the old one is worth nothing: a token that expires, a rotation by the platform.

Connections that stand are ended, as they are by their lifetime sooner or later; a new one with the password that was
put into the conninfo at the start is refused ("password authentication failed"). The old one works again when the
window ends: until then only who asks for the password anew is served.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from psycopg import sql

from harness.core.environment import Capability, Environment
from harness.core.errors import ComponentError
from harness.core.fault import Effect, Witness
from harness.core.rotation import rotated
from harness.faults.statements import admin, terminate
from harness.faults.toxics import heal

#: As few rounds of the key derivation as the server takes, where it has the setting (Postgres 16).
_FEW_ROUNDS = "SELECT set_config(name, '256', false) FROM pg_settings WHERE name = 'scram_iterations'"


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordRotated:
    """No fields: the agents' role has another password until the window ends."""

    kind: ClassVar[str] = "password_rotated"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SERVER_PROCESS})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    @property
    def delay_ms(self) -> float:
        """Refused at once."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """The witness is the stored hash: it is another one."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        try:
            await _set(env, rotated(env.endpoint.password))
            yield Witness({"role": env.endpoint.user, "sessions_ended": await terminate(env)})
        finally:

            async def back() -> None:
                await _set(env, env.endpoint.password)

            await heal(back, "the rotated password")


async def _set(env: Environment, password: str) -> None:
    """Send the hash only, so that the password stands in no log, and read it back."""
    role = env.endpoint.user
    async with admin(env) as connection:
        await connection.execute(_FEW_ROUNDS)
        secret = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(secret))
        await connection.execute(statement)
        stored = await connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (role,))
        if (await stored.fetchall())[0][0] != secret:
            raise ComponentError(f"the password of {role} did not change")
