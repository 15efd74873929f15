"""Motions and files: giving, looking at, taking, deleting and converting them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathName
from fastapi.responses import FileResponse

from motiongpt3.motion.motion import Motion
from motiongpt3.web import uploads
from motiongpt3.web.binary_motion import pack_motion
from motiongpt3.web.lanes import Job
from motiongpt3.web.outputs import file_stem, output_named, write_as, write_output
from motiongpt3.web.schemas import MotionInfo
from motiongpt3.web.service import ClientName, MotionName, Service, client_of, submitted
from motiongpt3.web.waiting import result_of

FileName = Annotated[
    str,
    Query(
        max_length=200,
        description="What the file is called; its ending says the format.",
        examples=["clip.bvh"],
    ),
]
FormatName = Annotated[str, PathName(max_length=20, description="One of /api/info.", examples=["bvh"])]
_FILE_BODY = {
    "requestBody": {
        "required": True,
        "description": "The file's bytes as they are.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def add_file_routes(router: APIRouter, service: Service) -> None:
    """Everything about files."""
    engine, store = service.engine, service.store

    @router.post("/api/motions", tags=["files"], status_code=201, openapi_extra=_FILE_BODY)
    async def upload(request: Request, name: FileName, client: ClientName = None) -> MotionInfo:
        """Give a motion: the body is the file. It is brought to the model's frame rate and body."""
        data = await request.body()
        uploads.check_upload(data, uploads.safe_name(name))
        job = submitted(lambda: engine.file(client_of(request, client), lambda _: service.read(data, name)))
        motion = await result_of(request, job, engine.files, service.timeout)
        return service.info(store.add(motion, motion.name, "upload"))

    @router.get("/api/motions/{motion}", tags=["files"])
    async def motion_info(motion: MotionName) -> MotionInfo:
        """What a motion is."""
        return service.info(service.entry(motion))

    @router.delete("/api/motions/{motion}", tags=["files"], status_code=204)
    async def forget(motion: MotionName) -> None:
        """Delete a motion and its files."""
        service.entry(motion)
        store.remove(motion)

    @router.get("/api/motions/{motion}/frames", tags=["files"], response_class=Response)
    async def frames(motion: MotionName) -> Response:
        """The joints as bytes: ``MG3M``, frames, joints (uint32), fps (float32), then float32 positions."""
        data = pack_motion(service.entry(motion).motion)
        return Response(
            data, media_type="application/octet-stream", headers={"Cache-Control": "private, max-age=3600"}
        )

    @router.get("/api/motions/{motion}/files/{format}", tags=["files"], response_class=FileResponse)
    async def file(request: Request, motion: MotionName, format: FormatName) -> FileResponse:
        """A motion as a file, in a format of /api/info."""
        entry, output = service.entry(motion), output_named(format)

        def write(job: Job) -> Path:
            return write_output(store, entry, output, lambda done, frames: engine.files.check())

        job = submitted(lambda: engine.file(client_of(request), write))
        path = await result_of(request, job, engine.files, service.timeout)
        return FileResponse(path, filename=f"{file_stem(entry)}{output.suffix}")

    @router.post("/api/convert", tags=["files"], response_class=Response, openapi_extra=_FILE_BODY)
    async def convert(
        request: Request,
        name: FileName,
        to: Annotated[str, Query(max_length=20, description="A format of /api/info.", examples=["amass"])],
        standard: Annotated[bool, Query(description="Bring it to the model's frame rate and body.")] = False,
        client: ClientName = None,
    ) -> Response:
        """A motion file as a file of another format; nothing is kept."""
        data, output = await request.body(), output_named(to)
        uploads.check_upload(data, uploads.safe_name(name))

        def run(job: Job) -> bytes:
            motion = service.read(data, name) if standard else uploads.read_upload(data, name, store.folder)
            return _written(motion, output.name, store.folder)

        job = submitted(lambda: engine.file(client_of(request, client), run))
        written = await result_of(request, job, engine.files, service.timeout)
        stem = uploads.safe_name(name).rpartition(".")[0] or "motion"
        disposition = f'attachment; filename="{stem}{output.suffix}"'
        return Response(
            written, media_type="application/octet-stream", headers={"Content-Disposition": disposition}
        )


def _written(motion: Motion, to: str, folder: Path) -> bytes:
    output = output_named(to)
    with tempfile.TemporaryDirectory(dir=folder, prefix="convert-") as place:
        path = Path(place) / f"motion{output.suffix}"
        write_as(motion, path, output, motion.name)
        return path.read_bytes()
