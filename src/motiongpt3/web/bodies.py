"""The routes of the body: its mesh, and its movement in each motion."""

from __future__ import annotations

import asyncio
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Response
from fastapi.responses import FileResponse

from motiongpt3.body.embedded import embedded_body
from motiongpt3.body.fitting import fit_body
from motiongpt3.files import atomic_file
from motiongpt3.web.binary_body import pack_body, pack_pose
from motiongpt3.web.service import MotionName, Service
from motiongpt3.web.store import Entry, Store

_BYTES = "application/octet-stream"


def add_body_routes(router: APIRouter, service: Service) -> None:
    """Add ``/api/body`` and ``/api/motions/ID/pose``."""
    # One fit at a time: fits of many clients at once would only slow each other, and the model, down.
    fitting = asyncio.Lock()

    @router.get("/api/body", tags=["files"], response_class=Response)
    async def body(known: Annotated[str | None, Header(alias="If-None-Match")] = None) -> Response:
        """The body's mesh as bytes, laid out as `motiongpt3.web.binary_body` says."""
        data, tag = await asyncio.to_thread(_mesh)
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if known == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=_BYTES, headers=headers)

    @router.get("/api/motions/{motion}/pose", tags=["files"], response_class=FileResponse)
    async def pose(motion: MotionName) -> FileResponse:
        """The body's movement as bytes, laid out as `motiongpt3.web.binary_body` says."""
        entry = service.entry(motion)
        async with fitting:
            path = await asyncio.to_thread(write_pose, service.store, entry)
        return FileResponse(path, media_type=_BYTES, headers={"Cache-Control": "private, max-age=3600"})


def write_pose(store: Store, entry: Entry) -> Path:
    """The movement of the body as a file, fitted the first time it is asked for.

    Raises:
        InputError: if no body can do what the joints do.
    """
    path = store.folder_of(entry) / "body.pose"
    if not path.exists():
        data = pack_pose(fit_body(entry.motion, embedded_body()))
        with atomic_file(path) as temporary:
            temporary.write_bytes(data)
    return path


@lru_cache(maxsize=1)
def _mesh() -> tuple[bytes, str]:
    """The bytes of the mesh, and a tag that changes with them."""
    data = pack_body(embedded_body())
    return data, f'"{hashlib.sha256(data).hexdigest()[:16]}"'
