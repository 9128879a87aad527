"""``signalbox models``: what is on this machine, what runs on it, downloads, and which model answers."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

from core.base.text import file_size, memory_size, transfer_facts
from core.cli import terminal
from core.cli.terminal import EMPTY, UsageError, table
from core.errors import SignalboxError

if TYPE_CHECKING:
    from core.local.models import Download, ModelShelf
    from core.router_core import RouterCore

_NEEDS_NAME = ("download", "use", "delete", "undelete")
_TELL_EVERY_S = 5.0
_FITS = {"fits": "yes", "tight": "tight", "too_big": "no", "unknown": EMPTY}


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "models",
        parents=[common],
        description="Without ACTION: what is on disk, what is worth downloading, and unfinished downloads. A "
        "download stopped by Ctrl+C goes on when you ask for it again.",
    )
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "find", *_NEEDS_NAME),
        default="list",
        metavar="ACTION",
        help="list; find: look for servers on this machine too; download, use, delete or undelete MODEL",
    )
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        type=terminal.name,
        help="as listed; to download also owner/repo, owner/repo:FILE.gguf, owner/repo:Q4_K_M or an address",
    )
    parser.add_argument("--vllm", action="store_true", help="download: the whole repository, for vLLM")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=models)


async def models(arguments: argparse.Namespace) -> int:
    from core.router_core import RouterCore

    action, model = arguments.action, arguments.model
    if (action in _NEEDS_NAME) != (model is not None):
        raise UsageError(f"models {action} {'needs a MODEL' if model is None else 'takes no MODEL'}")
    async with RouterCore() as core:
        if action == "download":
            return await _download(core, model, for_vllm=arguments.vllm, as_json=arguments.json)
        match action:
            case "use":
                await core.local_models.use(model)
                said = {"used": model}
            case "delete":
                model_id = await core.local_models.delete(model)
                said = {"deleted": model, "undo": f"signalbox models undelete '{model_id}'"}
            case "undelete":
                await core.local_models.undelete(model)
                said = {"restored": model}
            case _:
                here = core.local_models
                shelf = await (here.look() if action == "find" else here.look_at_disk())
                sys.stdout.write(
                    _json(shelf) if arguments.json else _text(shelf, with_servers=action == "find")
                )
                return 0
    if arguments.json:
        sys.stdout.write(json.dumps(said) + "\n")
    else:
        sys.stdout.write("".join(f"{verb.capitalize()}: {what}\n" for verb, what in said.items()))
    return 0


async def _download(core: RouterCore, what: str, *, for_vllm: bool, as_json: bool) -> int:
    changed = asyncio.Event()
    unsubscribe = core.local_models.subscribe(lambda shelf: changed.set())
    loop = asyncio.get_running_loop()
    try:
        download_id = await core.local_models.download(what, for_vllm=for_vllm)
        told_s = loop.time()
        while (now := _of(core, download_id)).phase not in ("done", "failed"):
            if loop.time() - told_s >= _TELL_EVERY_S:
                told_s = loop.time()
                sys.stderr.write(f"{_progress(now)}\n")
                sys.stderr.flush()
            changed.clear()
            await changed.wait()
    finally:
        unsubscribe()
    if now.phase == "failed":
        raise SignalboxError(now.error, hint=now.hint)
    found = {"path": str(now.path), "bytes": now.done_bytes}
    sys.stdout.write(
        json.dumps(found) + "\n" if as_json else f"{now.path}\nTo use it: signalbox models use '{now.path}'\n"
    )
    return 0


def _of(core: RouterCore, download_id: str) -> Download:
    return next(each for each in core.local_models.downloads() if each.id == download_id)


def _progress(download: Download) -> str:
    facts = transfer_facts(download.done_bytes, download.total_bytes, download.bytes_per_s)
    if download.left_s is not None:
        facts.append(f"{download.left_s / 60:.0f} min left")
    return f"{download.title}: {', '.join(facts)}"


def _json(shelf: ModelShelf) -> str:
    from core.serialization import to_plain

    return json.dumps(to_plain(shelf), indent=2) + "\n"


def _text(shelf: ModelShelf, *, with_servers: bool) -> str:
    lines = [
        (
            each.name,
            file_size(each.size_bytes),
            each.place.replace("_", " "),
            _FITS[each.fits],
            "in use" if each.in_use else "loading" if each.is_loading else "",
            each.id,
        )
        for each in shelf.on_disk
    ]
    text = table(("On disk", "Size", "Where", "Fits", "", "Id"), lines, left=(0, 2, 3, 4, 5))
    if with_servers:
        servers = [
            (
                each.name,
                each.base_url,
                "wants a key" if each.wants_key else ", ".join(each.models[:4]) or EMPTY,
            )
            for each in shelf.servers
        ]
        if not servers:
            return text + "\nNo other model server answers on this machine's usual ports.\n"
        return text + "\n" + table(("Server", "Address", "Models"), servers, left=(0, 1, 2))
    curated = [
        (
            each.id,
            each.name,
            file_size(each.size_bytes),
            memory_size(each.needs_bytes),
            _FITS[each.fits],
            each.licence,
            ("on disk" if each.on_disk else "best here" if each.best else ""),
        )
        for each in shelf.curated
    ]
    heads = ("To download", "Name", "Size", "Needs", "Fits", "Licence", "")
    text += "\n" + table(heads, curated, left=(0, 1, 4, 5, 6))
    waiting = [(each.title, each.phase, _progress(each)) for each in shelf.downloads]
    return text + ("\n" + table(("Download", "", "So far"), waiting, left=(0, 1, 2)) if waiting else "")
