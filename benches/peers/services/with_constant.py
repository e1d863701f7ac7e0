"""A FastAPI service with keys in its environment: what one of the documents describes that
tower-api-key began with. `python with_constant.py` makes them.
"""

import hmac
import json
import secrets
import sys
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Security
from fastapi.security.api_key import APIKeyHeader

import key_file

app = FastAPI()
header = APIKeyHeader(name="X-API-Key", auto_error=False)
FILE = key_file.folder() / "keys.json"
# The one key of the service, and its scopes.
KEYS: dict[str, list[str]] = json.loads(FILE.read_text()) if FILE.exists() else {}


async def known_key(key: Annotated[str | None, Security(header)]) -> list[str]:
    for known, scopes in KEYS.items():
        if key is not None and hmac.compare_digest(known, key):
            return scopes
    raise HTTPException(403, "Forbidden")


@app.get("/orders")
async def orders(scopes: Annotated[list[str], Depends(known_key)]) -> dict:
    return {"orders": []}


def prepare() -> None:
    key = secrets.token_urlsafe(32)
    FILE.write_text(json.dumps({key: ["orders:read"]}))
    key_file.write([key], [secrets.token_urlsafe(32) for _ in range(1000)])


if __name__ == "__main__":
    sys.exit(prepare())
