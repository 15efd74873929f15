"""Sharing the clips of an evaluation among the processes that torchrun starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from motiongpt3.data.loaders import process
from motiongpt3.errors import InputError

Item = TypeVar("Item")


@contextmanager
def joined_processes() -> Iterator[tuple[int, int]]:
    """Join the group of processes that torchrun started, if it did; yields rank and number of processes.

    Embeddings and captions are exchanged on the CPU, which every machine can.

    Raises:
        InputError: if another process stopped before its time.
    """
    distributed = torch.distributed
    started = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized()
    if started:
        distributed.init_process_group("gloo")
    try:
        yield process()
    except RuntimeError as error:
        # All that gloo says of a lost connection is the line of its source.
        if process()[1] > 1 and "gloo" in str(error):
            raise InputError("another process of this evaluation stopped: what it said tells why") from None
        raise
    finally:
        if started:
            distributed.destroy_process_group()


def own_device(device: str) -> str:
    """The device of this process: each process of a machine takes a CUDA card of its own."""
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        return f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
    return device


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


def from_first(make: Callable[[], Item]) -> Item:
    """What ``make`` gives in the first process, for all of them; the others wait."""
    rank, processes = process()
    if processes == 1:
        return make()
    made: list[Any] = [make() if rank == 0 else None]
    torch.distributed.broadcast_object_list(made)
    return made[0]
