"""Three FastAPI services with a table of hashed keys: `headers`, `flexible` and `bearer`.

Each does what one of the documents describes that tower-api-key began with. SQLite in WAL mode keeps
the tables. `python with_table.py` makes them.
"""

import hashlib
import hmac
import secrets
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timezone
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Security
from fastapi.security import APIKeyHeader, APIKeyQuery, HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import JSON, ForeignKey, create_engine, event, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

import key_file

KEYS = 1000
FILE = key_file.folder() / "keys.db"


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    is_active: Mapped[bool] = mapped_column(default=True)


class Key(Base):
    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    key_hash: Mapped[str] = mapped_column(unique=True)
    key_prefix: Mapped[str]
    name: Mapped[str]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    scopes: Mapped[list[str]] = mapped_column(JSON, default=list)
    tier: Mapped[str] = mapped_column(default="basic")
    is_active: Mapped[bool] = mapped_column(default=True)
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def pragmas(connection, _record) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA busy_timeout = 5000")


waiting = create_engine(f"sqlite:///{FILE}")
event.listen(waiting, "connect", pragmas)
Sessions = sessionmaker(waiting, expire_on_commit=False)
awaited = create_async_engine(f"sqlite+aiosqlite:///{FILE}")
event.listen(awaited.sync_engine, "connect", pragmas)
AsyncSessions = async_sessionmaker(awaited, expire_on_commit=False)


async def async_db() -> AsyncIterator[AsyncSession]:
    async with AsyncSessions() as session, session.begin():
        yield session


def db() -> Iterator[Session]:
    with Sessions() as session:
        yield session


AsyncDB = Annotated[AsyncSession, Depends(async_db)]
DB = Annotated[Session, Depends(db)]

in_header = APIKeyHeader(name="X-API-Key", auto_error=False)
in_query = APIKeyQuery(name="api_key", auto_error=False)


# `headers`: a header or a query parameter, status and expiry, and the time of each use is written.

headers = FastAPI()


async def sent_key(
    header: Annotated[str | None, Security(in_header)],
    query: Annotated[str | None, Security(in_query)],
) -> str:
    key = header or query
    if not key:
        raise HTTPException(401, "API key required")
    return key


async def valid_key(db: AsyncDB, key: Annotated[str, Depends(sent_key)]) -> Key:
    found = (await db.execute(select(Key).where(Key.key_hash == digest(key)))).scalar_one_or_none()
    if found is None:
        raise HTTPException(401, "Invalid API key")
    if not found.is_active:
        raise HTTPException(401, "API key is disabled")
    if found.expires_at is not None and found.expires_at < datetime.now(timezone.utc):
        raise HTTPException(401, "API key has expired")
    found.last_used_at = datetime.now(timezone.utc)
    await db.flush()
    return found


@headers.get("/orders")
async def orders(key: Annotated[Key, Depends(valid_key)]) -> dict:
    return {"orders": []}


# `flexible`: a header or a query parameter, an active key, and a compare in constant time.

flexible = FastAPI()


async def active_key(db: AsyncDB, key: Annotated[str, Depends(sent_key)]) -> Key:
    key_hash = digest(key)
    query = select(Key).where(Key.key_hash == key_hash, Key.is_active)
    found = (await db.execute(query)).scalar_one_or_none()
    if found is None or not hmac.compare_digest(found.key_hash, key_hash):
        raise HTTPException(401, "Invalid or expired API key")
    return found


@flexible.get("/orders")
async def flexible_orders(key: Annotated[Key, Depends(active_key)]) -> dict:
    return {"orders": []}


# `bearer`: functions that wait, a bearer token, and the time of each use is written.

bearer = FastAPI()
token = HTTPBearer(auto_error=False)


def required_key(
    db: DB, sent: Annotated[HTTPAuthorizationCredentials | None, Security(token)]
) -> Key:
    if sent is None:
        raise HTTPException(401, "Missing Authorization header", {"WWW-Authenticate": "Bearer"})
    query = select(Key).where(Key.key_hash == digest(sent.credentials), Key.is_active)
    found = db.execute(query).scalar_one_or_none()
    if found is None:
        raise HTTPException(401, "Invalid or inactive API key")
    found.last_used_at = datetime.now(timezone.utc)
    db.commit()
    return found


@bearer.get("/orders")
def bearer_orders(key: Annotated[Key, Depends(required_key)]) -> dict:
    return {"orders": []}


def prepare() -> None:
    Base.metadata.create_all(waiting)
    keys = [secrets.token_urlsafe(32) for _ in range(KEYS)]
    with Sessions() as session:
        session.add(User(id=1))
        for number, key in enumerate(keys):
            scopes = ["orders:read", "stock:write"]
            session.add(
                Key(
                    key_hash=digest(key),
                    key_prefix=key[:8],
                    name=f"deployment {number}",
                    user_id=1,
                    scopes=scopes,
                )
            )
        session.commit()
    key_file.write(keys, [secrets.token_urlsafe(32) for _ in range(KEYS)])


if __name__ == "__main__":
    sys.exit(prepare())
