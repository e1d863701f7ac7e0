"""The file that says which keys a service knows, and which it does not."""

import os
import pathlib


def folder() -> pathlib.Path:
    return pathlib.Path(os.environ["FOLDER"])


def write(valid: list[str], unknown: list[str]) -> None:
    lines = [f"valid {key}" for key in valid] + [f"unknown {key}" for key in unknown]
    (folder() / "keys").write_text("".join(f"{line}\n" for line in lines))
