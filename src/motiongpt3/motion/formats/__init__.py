"""Motion files: one module a format; every reader gives a `Motion`, every writer takes one."""

from __future__ import annotations

from motiongpt3.motion.formats.amass import read_amass, write_amass
from motiongpt3.motion.formats.bvh_motion import read_bvh, write_bvh
from motiongpt3.motion.formats.catalogue import (
    FORMATS,
    Format,
    ReadOptions,
    WriteOptions,
    format_of,
    read_motion,
    write_motion,
)
from motiongpt3.motion.formats.csv_angles import read_csv, write_csv
from motiongpt3.motion.formats.fbx import read_fbx, write_fbx
from motiongpt3.motion.formats.gltf_reader import read_glb
from motiongpt3.motion.formats.gltf_writer import write_glb
from motiongpt3.motion.formats.npy import read_npy, write_features, write_npy
from motiongpt3.motion.formats.smpl_parameters import read_smpl, write_smpl

__all__ = [
    "FORMATS",
    "Format",
    "ReadOptions",
    "WriteOptions",
    "format_of",
    "read_amass",
    "read_bvh",
    "read_csv",
    "read_fbx",
    "read_glb",
    "read_motion",
    "read_npy",
    "read_smpl",
    "write_amass",
    "write_bvh",
    "write_csv",
    "write_fbx",
    "write_features",
    "write_glb",
    "write_motion",
    "write_npy",
    "write_smpl",
]
