"""Keyshield in a FastAPI service: its cached service over SQLAlchemy, with Argon2, as its own guide
has it. `python with_keyshield.py` makes the keys.

The delay that it puts before each answer, 0.1 to 0.3 seconds, is left as it is in `app`, and taken out
in `without_delay`, which shows what the rest costs.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Annotated

import aiocache
from fastapi import Depends, FastAPI
from keyshield import ApiKey
from keyshield.api import create_depends_api_key
from keyshield.hasher.argon2 import Argon2ApiKeyHasher
from keyshield.repositories.sql import SqlAlchemyApiKeyRepository
from keyshield.services.cached import CachedApiKeyService
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

import key_file

KEYS = 32
hasher = Argon2ApiKeyHasher(pepper="a pepper of this bench")
cache = aiocache.SimpleMemoryCache()
engine = create_async_engine(f"sqlite+aiosqlite:///{key_file.folder() / 'keys.db'}")
Sessions = async_sessionmaker(engine, expire_on_commit=False)


@event.listens_for(engine.sync_engine, "connect")
def pragmas(connection, _record) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA busy_timeout = 60000")


def service(session: AsyncSession, **settings) -> CachedApiKeyService:
    repository = SqlAlchemyApiKeyRepository(session)
    return CachedApiKeyService(repo=repository, hasher=hasher, cache=cache, **settings)


def application(**settings) -> FastAPI:
    made = FastAPI()

    async def services() -> AsyncIterator[CachedApiKeyService]:
        async with Sessions() as session, session.begin():
            yield service(session, **settings)

    security = create_depends_api_key(services)

    @made.get("/orders")
    async def orders(key: Annotated[ApiKey, Depends(security)]) -> dict:
        return {"orders": []}

    return made


app = application()
without_delay = application(min_delay=0.0, max_delay=0.0)


async def prepare() -> None:
    async with Sessions() as session:
        await SqlAlchemyApiKeyRepository(session).ensure_table(async_engine=engine)
    async with Sessions() as session, session.begin():
        keys = service(session)
        valid = [(await keys.create(name=f"deployment {n}"))[1] for n in range(KEYS)]
        gone = []
        for number in range(KEYS):
            entity, key = await keys.create(name=f"gone {number}")
            await keys.delete_by_id(entity.id_)
            gone.append(key)
    key_file.write(valid, gone)


if __name__ == "__main__":
    sys.exit(asyncio.run(prepare()))
