"""A thread is deleted while a run of it is under way: what that still saves brings the thread back.

langchain-ai/langgraph#7206
"""

from __future__ import annotations

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection

from .chat import HELLO, chat
from .ground import main
from .pools import THREAD, pool_of


async def run(dsn: str, cured: bool) -> None:
    async with pool_of(dsn) as pool, await AsyncConnection.connect(dsn, autocommit=True) as sql:
        await (saver := AsyncPostgresSaver(pool)).setup()
        steps = chat(saver).astream(HELLO, THREAD)
        await anext(steps)
        if cured:  # that it was deleted is kept
            await sql.execute("""
                CREATE TABLE deleted AS VALUES ('t');
                CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                  RETURN CASE WHEN NOT EXISTS (SELECT FROM deleted WHERE column1 = NEW.thread_id) THEN NEW END; END $$;
                CREATE TRIGGER late BEFORE INSERT ON checkpoints FOR EACH ROW EXECUTE FUNCTION refuse()""")
        await AsyncPostgresSaver(pool).adelete_thread("t")  # another replica does
        async for _ in steps:
            pass
        if left := (await sql.execute("SELECT FROM checkpoints")).rowcount:
            raise RuntimeError(f"the thread was deleted, and has {left} checkpoints")


if __name__ == "__main__":
    main(run, "RuntimeError: the thread was deleted, and has")
