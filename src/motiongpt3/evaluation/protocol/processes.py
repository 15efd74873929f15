"""Sharing the clips of an evaluation among the processes that torchrun starts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from motiongpt3.data.loaders import process

Item = TypeVar("Item")


@contextmanager
def joined_processes() -> Iterator[tuple[int, int]]:
    """Join the group of processes that torchrun started, if it did; yields rank and number of processes.

    Embeddings and captions are exchanged on the CPU, which every machine can.
    """
    distributed = torch.distributed
    started = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized()
    if started:
        distributed.init_process_group("gloo")
    try:
        yield process()
    finally:
        if started:
            distributed.destroy_process_group()


def share(items: Sequence[Item]) -> list[Item]:
    """Those of the items that are this process's."""
    rank, processes = process()
    return list(items[rank::processes])


def gathered(own: Sequence[tuple[int, Item]]) -> list[Item]:
    """The numbered results of all processes, in the order of their numbers."""
    _, processes = process()
    parts: list[Any] = [list(own)]
    if processes > 1:
        parts = [None] * processes
        torch.distributed.all_gather_object(parts, list(own))
    return [item for _, item in sorted((pair for part in parts for pair in part), key=lambda pair: pair[0])]


def wait() -> None:
    """Until all processes are here."""
    if process()[1] > 1:
        torch.distributed.barrier()
