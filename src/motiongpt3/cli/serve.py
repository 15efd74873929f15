"""``motiongpt3 serve``: the web app."""

from __future__ import annotations

import logging
import os
import re
import secrets
from pathlib import Path

from motiongpt3.errors import InputError

NO_TOKEN = "none"


def serve(
    host: str = "127.0.0.1",
    port: int = 8888,
    model: list[str] | None = None,
    out: Path = Path("out/web"),
    token: str | None = None,
    keep: str = "60m",
    timeout: int = 180,
    batch: int = 16,
    gradio: bool = True,
    device: str = "auto",
) -> int:
    """Serve the web app: a page to talk with a model and see it move, and the same over HTTP for programs.

    Only this machine can reach it unless HOST says otherwise. Nothing is fetched from anybody else, or told
    to them.

    Args:
        host: address to listen at; 0.0.0.0 for all of this machine, which then asks clients for a token.
        port: to listen at; 0 for any free one.
        model: folder, name in models/, or hub id (default: MOTIONGPT3_MODEL, else models/mini). May be given
            several times; the first model answers requests that name none.
        out: folder for files that clients ask for; what an earlier run left in it is deleted.
        token: that clients must give; by default none on this machine alone, else a random one, which is
            printed. "none" lets anybody in.
        keep: how long a motion is kept before it is deleted: minutes (60m) or hours (8h).
        timeout: seconds that one request may take.
        batch: motions that may share one pass through the model.
        gradio: serve Gradio's own page and interface at /gradio too.
        device: auto, cpu, cuda or mps.

    Returns:
        0, when it is stopped.

    Raises:
        InputError: for an option that cannot be used, or an address that cannot be listened at.
        MissingDependencyError: if the extra ``web`` is not installed.
    """
    import uvicorn

    from motiongpt3.cli.generate import choose_device
    from motiongpt3.models.locate import DEFAULT_MODEL, MODEL_VARIABLE, find_model
    from motiongpt3.web.guard import LOOPBACK, Rules
    from motiongpt3.web.models import model_loader, served_models
    from motiongpt3.web.server import Settings, make_app

    if not 0 <= port < 65536:
        raise InputError(f"port is {port}, but must be from 0 to 65535")
    if timeout < 1 or not 1 <= batch <= 64:
        raise InputError("timeout must be at least 1 second, and batch from 1 to 64")
    local = host in LOOPBACK
    if token is None and not local:
        token = secrets.token_urlsafe(16)
    elif token == NO_TOKEN:
        token = None
    elif token is not None and not re.fullmatch(r"[\w.~-]{8,200}", token, re.ASCII):
        raise InputError("token must have at least 8 letters and digits, or signs of - _ . ~")
    rules = Rules(hosts=LOOPBACK if local else frozenset(), token=token)
    sources = model or [os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL]
    chosen = choose_device(device)
    models = served_models(sources, lambda source: model_loader(find_model(source), chosen))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = Settings(
        out=out,
        rules=rules,
        timeout=timeout,
        keep=_seconds(keep),
        rows=batch,
        gradio=gradio,
    )
    app = make_app(models, settings)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        proxy_headers=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=5,
        limit_concurrency=512,
    )
    try:
        listening = config.bind_socket()
    except SystemExit:
        raise InputError(f"cannot listen at {host} port {port}: choose another with --port") from None
    shown = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}/"
    print(f"{address}?token={token}" if token else address, flush=True)
    uvicorn.Server(config).run(sockets=[listening])
    return 0


def _seconds(text: str) -> float:
    """Seconds of ``90s``, ``60m`` or ``8h``."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not number.isdecimal() or not 0 < int(number) < 10_000:
        raise InputError(f"keep is {text!r}, but must be a time such as 90s, 60m or 8h")
    return float(int(number) * units[unit])
