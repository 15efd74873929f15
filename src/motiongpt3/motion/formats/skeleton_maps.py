"""Which joints of a foreign skeleton stand for the 22 SMPL joints, by name.

A map gives every SMPL joint a source: the name of one joint, or a weighted mean of several where the source
has no such joint (spines of fewer bones, collarbones that start at the spine). Weighted means are the lossy
part: they are plausible points, not measured ones. End sites are called ``Parent/End``.

Names are compared without namespaces and prefixes (``mixamorig:Hips``, ``Character1_Hips`` and ``hips`` are
the same name), unless the file has the exact name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.motion.formats.joint_names import NAMINGS
from motiongpt3.motion.skeleton import JOINT_COUNT, JOINT_INDEX, JOINT_NAMES

Source = str | Mapping[str, float]
"""The name of a source joint, or several with weights that sum to 1."""
JointMap = Mapping[str, Source]
"""SMPL joint name to its source."""

_PREFIX = re.compile(r".*:|mixamorig\d*_?|character\d*_", re.IGNORECASE)
_LISTED_NAMES = 60


@dataclass(frozen=True)
class SkeletonMap:
    """A known naming scheme.

    Attributes:
        name: what the scheme is called.
        sources: for each SMPL joint, the sources to try in turn; the first that the file has is taken.
    """

    name: str
    sources: Mapping[str, tuple[Source, ...]]


@dataclass(frozen=True, eq=False)
class JointWeights:
    """A map applied to the joints of one file.

    Attributes:
        name: the naming scheme that was recognised.
        weights: (22, J) float64; SMPL joint positions are ``weights @ positions``. Rows sum to 1.
    """

    name: str
    weights: Tensor


def load_joint_map(joint_map: JointMap | str | Path) -> dict[str, dict[str, float]]:
    """Check a map given by a user: a dictionary, or the path of a JSON file that holds one.

    Returns:
        SMPL joint name to weights of source joints.

    Raises:
        InputError: if the file cannot be read, a key is no SMPL joint, or a source is neither a name nor
            names with weights that sum to 1.
    """
    where = "joint_map"
    entries: object = joint_map
    if isinstance(joint_map, str | Path):
        where = str(joint_map)
        try:
            entries = json.loads(Path(joint_map).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{where}: cannot be read ({error.strerror or error})") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not a JSON file ({error})") from error
    if not isinstance(entries, Mapping):
        raise InputError(f'{where}: expected an object such as {{"pelvis": "Hips", ...}}')
    return {_smpl_name(key, where): _weighted(key, source, where) for key, source in entries.items()}


def map_joints(
    names: Sequence[str], joint_map: JointMap | str | Path | None = None, file: str = "BVH"
) -> JointWeights:
    """Find the 22 SMPL joints among the joints of a file.

    Args:
        names: the J joint names of the file; end sites as ``Parent/End``.
        joint_map: the user's sources, which win over the known schemes; what it leaves out is looked up in
            the scheme that fits best.
        file: what to call the file in messages.

    Raises:
        InputError: naming the SMPL joints without a source and the names the file has; or a joint name that
            is needed and occurs more than once.
    """
    finder = _Finder(names, file)
    given: dict[str, Tensor] = {}
    for joint, source in (load_joint_map(joint_map) if joint_map is not None else {}).items():
        row = finder.row(source)
        if row is None:
            raise InputError(f"{file}: joint_map takes {joint} from {_quoted(source)}; {finder.contents()}")
        given[joint] = row

    best: tuple[SkeletonMap, list[str]] | None = None
    for scheme in SKELETON_MAPS:
        rows = {**{joint: finder.first(sources) for joint, sources in scheme.sources.items()}, **given}
        missing = [joint for joint in JOINT_NAMES if rows.get(joint) is None]
        if not missing:
            found = [row for joint in JOINT_NAMES if (row := rows[joint]) is not None]
            name = "joint_map" if len(given) == JOINT_COUNT else scheme.name
            return JointWeights(name, torch.stack(found))
        if best is None or len(missing) < len(best[1]):
            best = scheme, missing
    assert best is not None
    scheme, missing = best
    raise InputError(
        f"{file}: no source for {', '.join(missing)} (closest known naming: {scheme.name}); "
        f"{finder.contents()}. "
        f'Give a joint_map, a JSON file such as {{"{missing[0]}": "name of a joint in the file"}}'
    )


class _Finder:
    """Looks up the joints of one file by exact name, else by bare name."""

    def __init__(self, names: Sequence[str], file: str) -> None:
        self.names = names
        self.file = file
        self.exact: dict[str, list[int]] = {}
        self.bare: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            self.exact.setdefault(name, []).append(index)
            self.bare.setdefault(_bare(name), []).append(index)

    def index(self, name: str) -> int | None:
        found = self.exact.get(name) or self.bare.get(_bare(name), [])
        if len(found) > 1:
            raise InputError(
                f"{self.file}: {len(found)} joints are called {name!r}; "
                "keep one figure in a file, or rename them"
            )
        return found[0] if found else None

    def row(self, source: Source) -> Tensor | None:
        row = torch.zeros(len(self.names), dtype=torch.float64)
        for name, weight in ({source: 1.0} if isinstance(source, str) else source).items():
            index = self.index(name)
            if index is None:
                return None
            row[index] += weight
        return row

    def first(self, sources: tuple[Source, ...]) -> Tensor | None:
        return next((row for source in sources if (row := self.row(source)) is not None), None)

    def contents(self) -> str:
        listed = [name if len(name) <= 40 else name[:37] + "..." for name in self.names[:_LISTED_NAMES]]
        more = len(self.names) - len(listed)
        return f"the file has {', '.join(listed)}" + (f" and {more} more" if more > 0 else "")


def _bare(name: str) -> str:
    return _PREFIX.sub("", name, count=1).casefold()


def _smpl_name(name: object, where: str) -> str:
    if name not in JOINT_INDEX:
        raise InputError(f"{where}: {name!r} is not an SMPL joint; they are {', '.join(JOINT_NAMES)}")
    return str(name)


def _weighted(joint: str, source: object, where: str) -> dict[str, float]:
    if isinstance(source, str):
        return {source: 1.0}
    if isinstance(source, Mapping) and all(
        isinstance(name, str) and isinstance(weight, int | float) for name, weight in source.items()
    ):
        weights = {name: float(weight) for name, weight in source.items()}
        if math.isclose(sum(weights.values()), 1.0, abs_tol=1e-6):
            return weights
    raise InputError(
        f"{where}: the source of {joint} must be a name, or names with weights that sum to 1 "
        'such as {"A": 0.5, "B": 0.5}'
    )


def _quoted(source: Mapping[str, float]) -> str:
    return " and ".join(repr(name) for name in source)


def _both_sides(
    left_and_middle: Mapping[str, Source | tuple[Source, ...]], left: str, right: str
) -> dict[str, tuple[Source, ...]]:
    """Complete a table: the right side has the names of the left with the first ``left`` made ``right``."""

    def swap(source: Source) -> Source:
        if isinstance(source, str):
            return source.replace(left, right, 1)
        return {swap_name(name): weight for name, weight in source.items()}

    def swap_name(name: str) -> str:
        return name.replace(left, right, 1)

    table: dict[str, tuple[Source, ...]] = {}
    for joint, value in left_and_middle.items():
        sources = value if isinstance(value, tuple) else (value,)
        table[joint] = sources
        if joint.startswith("left_"):
            table["right_" + joint.removeprefix("left_")] = tuple(swap(source) for source in sources)
    return table


# Arms and legs of CMU, Mixamo, LAFAN1 and most exports of MotionBuilder.
_LIMBS: dict[str, Source | tuple[Source, ...]] = {
    "pelvis": "Hips",
    "left_hip": "LeftUpLeg",
    "left_knee": "LeftLeg",
    "left_ankle": "LeftFoot",
    "left_foot": ("LeftToeBase", "LeftToe", "LeftFoot/End"),
    "left_collar": "LeftShoulder",
    "left_shoulder": "LeftArm",
    "left_elbow": "LeftForeArm",
    "left_wrist": "LeftHand",
    "head": "Head",
}

OWN_NAMING = "motiongpt3"
"""What the scheme of our own files is called."""

_OWN = SkeletonMap(OWN_NAMING, {name: (name,) for name in JOINT_NAMES})

# As exported from SMPL in Blender and Maya.
_SMPL = SkeletonMap(
    "smpl",
    _both_sides(
        {
            **{name: name.capitalize() for name in ("pelvis", "spine1", "spine2", "spine3", "neck", "head")},
            **{
                f"left_{part}": f"L_{part.capitalize()}"
                for part in ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist")
            },
        },
        "L_",
        "R_",
    ),
)

_UNREAL = SkeletonMap("unreal", {joint: (name,) for joint, name in NAMINGS["unreal"].items()})
_VRM = SkeletonMap("vrm", {joint: (name,) for joint, name in NAMINGS["vrm"].items()})
_VROID = SkeletonMap(
    "vroid",
    _both_sides(
        {
            "pelvis": "J_Bip_C_Hips",
            "spine1": "J_Bip_C_Spine",
            "spine2": "J_Bip_C_Chest",
            "spine3": "J_Bip_C_UpperChest",
            "neck": "J_Bip_C_Neck",
            "head": "J_Bip_C_Head",
            "left_hip": "J_Bip_L_UpperLeg",
            "left_knee": "J_Bip_L_LowerLeg",
            "left_ankle": "J_Bip_L_Foot",
            "left_foot": "J_Bip_L_ToeBase",
            "left_collar": "J_Bip_L_Shoulder",
            "left_shoulder": "J_Bip_L_UpperArm",
            "left_elbow": "J_Bip_L_LowerArm",
            "left_wrist": "J_Bip_L_Hand",
        },
        "_L_",
        "_R_",
    ),
)

# Blender's own human rig. Its neck has two bones, spine.004 and spine.005.
_RIGIFY = SkeletonMap(
    "rigify",
    _both_sides(
        {
            "pelvis": "spine",
            "spine1": "spine.001",
            "spine2": "spine.002",
            "spine3": "spine.003",
            "neck": "spine.004",
            "head": "spine.006",
            "left_hip": "thigh.L",
            "left_knee": "shin.L",
            "left_ankle": "foot.L",
            "left_foot": "toe.L",
            "left_collar": "shoulder.L",
            "left_shoulder": "upper_arm.L",
            "left_elbow": "forearm.L",
            "left_wrist": "hand.L",
        },
        ".L",
        ".R",
    ),
)

# mocap.cs.cmu.edu as converted to BVH. LowerBack is at the hips, Neck and both shoulders at Spine1.
_CMU = SkeletonMap(
    "cmu",
    _both_sides(
        {
            **_LIMBS,
            "spine1": {"LowerBack": 0.4, "Spine": 0.6},
            "spine2": {"Spine": 0.7, "Spine1": 0.3},
            "spine3": {"Spine": 0.35, "Spine1": 0.65},
            "left_collar": {"LeftShoulder": 0.6, "LeftArm": 0.4},
            "neck": "Neck1",
        },
        "Left",
        "Right",
    ),
)

_THREE_SPINES: dict[str, Source | tuple[Source, ...]] = {
    **_LIMBS,
    "spine1": "Spine",
    "spine2": "Spine1",
    "spine3": "Spine2",
    "neck": "Neck",
}
_MIXAMO = SkeletonMap("mixamo", _both_sides({**_THREE_SPINES, "left_foot": "LeftToeBase"}, "Left", "Right"))
_LAFAN = SkeletonMap(
    "lafan1", _both_sides({**_THREE_SPINES, "left_foot": ("LeftToe", "LeftFoot/End")}, "Left", "Right")
)

_TWO_SPINES = SkeletonMap(
    "motionbuilder",
    _both_sides(
        {
            **_LIMBS,
            "spine1": "Spine",
            "spine2": {"Spine": 0.5, "Spine1": 0.5},
            "spine3": "Spine1",
            "neck": "Neck",
        },
        "Left",
        "Right",
    ),
)

_BANDAI = SkeletonMap(
    "bandai-namco",
    _both_sides(
        {
            "pelvis": "Hips",
            "spine1": "Spine",
            "spine2": {"Spine": 0.5, "Chest": 0.5},
            "spine3": "Chest",
            "neck": "Neck",
            "head": "Head",
            "left_hip": "UpperLeg_L",
            "left_knee": "LowerLeg_L",
            "left_ankle": "Foot_L",
            "left_foot": ("Toes_L", "Foot_L/End"),
            "left_collar": "Shoulder_L",
            "left_shoulder": "UpperArm_L",
            "left_elbow": "LowerArm_L",
            "left_wrist": "Hand_L",
        },
        "_L",
        "_R",
    ),
)

# The names of the first BVH files, after joints rather than bones. Collars start at the spine.
_BIOVISION = SkeletonMap(
    "biovision",
    _both_sides(
        {
            "pelvis": "Hips",
            "spine1": "Chest",
            "spine2": ("Chest2", {"Chest": 0.68, "Neck": 0.32}),
            "spine3": ("Chest3", {"Chest2": 0.5, "Neck": 0.5}, {"Chest": 0.54, "Neck": 0.46}),
            "neck": "Neck",
            "head": "Head",
            "left_hip": "LeftHip",
            "left_knee": "LeftKnee",
            "left_ankle": "LeftAnkle",
            "left_foot": ("LeftToe", "LeftAnkle/End"),
            "left_collar": {"LeftCollar": 0.6, "LeftShoulder": 0.4},
            "left_shoulder": "LeftShoulder",
            "left_elbow": "LeftElbow",
            "left_wrist": "LeftWrist",
        },
        "Left",
        "Right",
    ),
)

# Poser, DAZ and Second Life; among them the second conversion of the CMU recordings.
_DAZ = SkeletonMap(
    "daz",
    _both_sides(
        {
            "pelvis": "hip",
            "spine1": "abdomen",
            "spine2": {"abdomen": 0.5, "chest": 0.5},
            "spine3": "chest",
            "neck": "neck",
            "head": "head",
            "left_hip": "lThigh",
            "left_knee": "lShin",
            "left_ankle": "lFoot",
            "left_foot": ("lToe", "lFoot/End"),
            "left_collar": "lCollar",
            "left_shoulder": "lShldr",
            "left_elbow": "lForeArm",
            "left_wrist": "lHand",
        },
        "l",
        "r",
    ),
)

SKELETON_MAPS: tuple[SkeletonMap, ...] = (
    _OWN,
    _SMPL,
    # Before the schemes with fewer spine joints, which its files would fit as well.
    _CMU,
    _MIXAMO,
    _LAFAN,
    _TWO_SPINES,
    _BANDAI,
    _BIOVISION,
    _DAZ,
    _UNREAL,
    _VRM,
    _VROID,
    _RIGIFY,
)
"""Known naming schemes, in the order in which they are tried."""
