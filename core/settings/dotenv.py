"""``.env``: settings in a file of the working directory, read without ever failing."""

from __future__ import annotations

import io
import logging
from pathlib import Path

from core.settings.report import SettingProblem, file_problem

_MAX_FILE_BYTES = 1 << 20


def read_dotenv(path: Path) -> tuple[dict[str, str | None], list[SettingProblem]]:
    """Read ``.env`` as python-dotenv does: quotes, ``export``, ``${NAME}``. A folder of that name is none."""
    try:
        if not path.is_file():
            return {}, []
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        return {}, [file_problem(".env", f"{path} cannot be read and is not used: {error}.", ".env")]
    if len(content) > _MAX_FILE_BYTES:
        return {}, [file_problem(".env", f"{path} is larger than 1 MiB and is not used.", ".env")]
    problems: list[SettingProblem] = []
    try:
        # Windows editors write UTF-16 with a mark; "utf-8-sig" also drops the mark of UTF-8.
        utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("utf-8-sig", errors="replace")
        problems.append(file_problem(".env", f"{path} is not UTF-8 text; save it as UTF-8.", ".env"))

    # Most starts have no .env, so its parser is imported only when there is one.
    import dotenv
    from dotenv.parser import parse_stream

    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            where = f"Line {binding.original.line} of {path}"
            problems.append(file_problem(".env", f"{where} is not NAME=value and is not used.", ".env"))
    logging.getLogger("dotenv.main").setLevel(logging.ERROR)  # it would say the same to standard error
    return dict(dotenv.dotenv_values(stream=io.StringIO(text))), problems
