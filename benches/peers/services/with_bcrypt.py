"""A FastAPI service whose keys are looked up as they are and then proved against a bcrypt hash.

This is what one of the documents describes that tower-api-key began with: the key itself in the table,
its hash beside it, and functions that wait within an `async` route. `python with_bcrypt.py` makes the
table.
"""

import hashlib
import os
import secrets
import sys
from collections.abc import Iterator
from typing import Annotated

import bcrypt
from fastapi import Depends, FastAPI, Header, HTTPException
from sqlalchemy import create_engine, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

import key_file

# Each hash takes a quarter of a second to make.
KEYS = 8
FILE = key_file.folder() / "keys.db"


class Base(DeclarativeBase):
    pass


class UserKey(Base):
    __tablename__ = "user_api_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(unique=True)
    secret_key: Mapped[str] = mapped_column(index=True)
    public_key: Mapped[str]


engine = create_engine(f"sqlite:///{FILE}")
event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA journal_mode = WAL"))
Sessions = sessionmaker(engine)
app = FastAPI()


def db() -> Iterator[Session]:
    with Sessions() as session:
        yield session


def sent_key(authorization: Annotated[str, Header()]) -> str:
    if not authorization.startswith("Bearer "):
        raise HTTPException(401, "Invalid authorization header")
    return authorization.removeprefix("Bearer ")


def verified(db: Session, token: str) -> UserKey | None:
    key = db.execute(select(UserKey).where(UserKey.secret_key == token)).scalar_one_or_none()
    if key is None:
        return None
    stored = key.public_key.removeprefix("MV_PUBLIC_").encode()
    return key if bcrypt.checkpw(key.secret_key.encode(), stored) else None


@app.get("/orders")
async def orders(
    token: Annotated[str, Depends(sent_key)], db: Annotated[Session, Depends(db)]
) -> dict:
    if verified(db, token) is None:
        raise HTTPException(401, "Not Authorized")
    return {"orders": []}


def generate(user: str, salt: str) -> str:
    # 64 characters of hex and a prefix would be more than bcrypt takes.
    return f"MV_SECRET_{hashlib.sha256((user + salt).encode()).hexdigest()[:56]}"


def prepare() -> None:
    Base.metadata.create_all(engine)
    salt = os.environ.get("API_SALT") or secrets.token_hex(16)
    keys = [generate(f"user-{number}", salt) for number in range(KEYS)]
    with Sessions() as session:
        for number, key in enumerate(keys):
            hashed = bcrypt.hashpw(key.encode(), bcrypt.gensalt()).decode()
            session.add(
                UserKey(user_id=f"user-{number}", secret_key=key, public_key=f"MV_PUBLIC_{hashed}")
            )
        session.commit()
    key_file.write(keys, [generate(f"stranger-{number}", salt) for number in range(KEYS)])


if __name__ == "__main__":
    sys.exit(prepare())
