"""Five agents call setup() at once on an empty database."""

from __future__ import annotations

import asyncio

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from .ground import main
from .pools import pool_of


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn, min_size=5, max_size=5) as pool:
        await pool.wait()
        if cured:  # once, as a migration job
            await AsyncPostgresSaver(pool).setup()
        for _ in range(20):
            await asyncio.gather(*(AsyncPostgresSaver(pool).setup() for _ in range(5)))
            if not cured:
                async with pool.connection() as connection:
                    await connection.execute("DROP TABLE checkpoints, checkpoint_blobs, checkpoint_writes")
                    await connection.execute("DROP TABLE checkpoint_migrations")


if __name__ == "__main__":
    main(run, "UniqueViolation: duplicate key|Duplicate(Table: relation|Object: type) .* already exists")
