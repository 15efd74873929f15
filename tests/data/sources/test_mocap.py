from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from motiongpt3.cli.data import COMMANDS, check_command, prepare_mocap_command
from motiongpt3.data.check import check_dataset
from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.sources.mocap import prepare_mocap
from motiongpt3.errors import InputError
from motiongpt3.motion.features import features_to_joints, joints_to_features
from motiongpt3.motion.kinematics import forward_direction
from motiongpt3.motion.skeleton import JOINT_INDEX, mirror_joints
from tests.data.datasets import capture_segment, write_capture
from tests.motion.bodies import travelling, wriggling


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return write_capture(tmp_path / "capture")


def test_writes_every_segment_and_its_mirror_image(capture: Path, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    written = prepare_mocap(capture, tmp_path / "out", progress=lambda *step: done.append(step))
    dataset = HumanML3DDataset(tmp_path / "out")
    assert written.clips == {"train": 6, "val": 2, "test": 2}
    assert done == [(count, 10) for count in range(1, 11)]
    assert dataset.split("train") == ["Mnc_jump", "Mwalk_0", "Mwalk_1", "nc_jump", "walk_0", "walk_1"]
    assert dataset.split("val") == ["Mjump", "jump"]
    # One row for each frame where the recording goes on; else one row less.
    lengths = {name: len(dataset.clip(name).features) for name in dataset.split("all")}
    assert lengths["walk_0"] == lengths["Mwalk_0"] == 30
    assert lengths["walk_1"] == 39
    assert lengths["jump"] == 30
    assert written.frames == sum(lengths.values())
    assert check_command(tmp_path / "out", strict=True) == 0


def test_features_are_those_of_the_segment_alone(capture: Path, tmp_path: Path) -> None:
    prepare_mocap(capture, tmp_path / "out")
    dataset = HumanML3DDataset(tmp_path / "out")
    recording = wriggling(70, 0) * 1.1 + 1
    for name, joints in (("walk_1", recording[30:70]), ("Mwalk_0", mirror_joints(recording[:31]))):
        expected = joints_to_features(joints, continuous_heading=True)
        np.testing.assert_allclose(dataset.clip(name).features, expected.numpy(), atol=1e-4)
        np.testing.assert_allclose(dataset.joints(name), features_to_joints(expected).numpy(), atol=1e-3)


def test_turns_keep_their_sign_all_the_way_round(tmp_path: Path) -> None:
    # Where the heading is opposite to the first frame's, HumanML3D's own formula gives a turn the wrong sign.
    yaw = torch.linspace(0, 5.0, 110)
    spin = travelling(yaw, torch.zeros(110, 3)).float().numpy()
    segments = [capture_segment("spin", "spin", 0, 110)]
    capture = write_capture(
        tmp_path / "capture", segments, pos=spin, offsets=np.array([0, 110]), ids=np.array(["spin"])
    )
    (capture / "provenance.csv").write_text("id,license,source_repo,source_path\nspin,MIT,x,y\n")
    prepare_mocap(capture, tmp_path / "out", "free", mirror=False)
    joints = torch.from_numpy(HumanML3DDataset(tmp_path / "out").joints("spin"))
    expected = torch.stack([yaw.sin(), torch.zeros(110), yaw.cos()], dim=-1)[:-1]
    torch.testing.assert_close(forward_direction(joints), expected, atol=1e-3, rtol=0)


def test_mirror_images_have_mirrored_words(capture: Path, tmp_path: Path) -> None:
    prepare_mocap(capture, tmp_path / "out")
    dataset = HumanML3DDataset(tmp_path / "out")
    assert [c.text for c in dataset.captions("jump")] == [
        "a person waves the left hand",
        "they turn clockwise",
    ]
    mirrored = [c.text for c in dataset.captions("Mjump")]
    assert mirrored == ["a person waves the right hand", "they turn counterclockwise"]
    assert (dataset.root / "texts" / "jump.txt").read_text().splitlines()[1] == "they turn clockwise##0.0#0.0"


def test_metadata_say_where_a_clip_is_from(capture: Path, tmp_path: Path) -> None:
    prepare_mocap(capture, tmp_path / "out")
    metadata = HumanML3DDataset(tmp_path / "out").metadata
    clip, mirrored = metadata["jump"], metadata["Mjump"]
    assert (clip.label, mirrored.label) == ("wave-left-hand", "wave-right-hand")
    assert (clip.group, clip.licence, clip.mirrored_from) == ("free", "MIT", None)
    # A retimed recording is found under its former name.
    assert clip.source == "free_jump_fixed (github.com/arpspoof/Jump/jump.bvh)"
    assert mirrored.mirrored_from == "jump"
    assert clip.human == mirrored.human == (True, False)
    assert metadata["walk_1"].duplicate_of == "walk_0"


def test_licence_groups_are_kept_apart(capture: Path, tmp_path: Path) -> None:
    prepare_mocap(capture, tmp_path / "free", "free", mirror=False)
    prepare_mocap(capture, tmp_path / "nc", "nc", mirror=False)
    assert HumanML3DDataset(tmp_path / "free").split("all") == ["jump", "walk_0", "walk_1"]
    assert HumanML3DDataset(tmp_path / "nc").split("all") == ["nc_jump", "nc_walk"]
    free, restricted = ((tmp_path / group / "ATTRIBUTION.md").read_text() for group in ("free", "nc"))
    assert "any use" in free
    assert "arpspoof/Jump: MIT" in free
    assert "Sony" not in free
    assert "no commercial use" in restricted
    assert "Sony Interactive Entertainment" in restricted
    assert "arpspoof" not in restricted


SEGMENTS = {
    "unknown recording": ({"source_id": "free_swim"}, "free_swim"),
    "beyond the end": ({"end": 71}, "of a recording of 70 frames"),
    "before the start": ({"start": -1}, "frames -1 to"),
    "backwards": ({"start": 30, "end": 20}, "frames 30 to 20"),
    "one frame": ({"start": 69, "end": 70}, "single frame"),
    "no captions": ({"captions": [], "human": []}, "0 captions"),
    "marks": ({"human": [True]}, "1 marks"),
    "split": ({"split": "dev"}, "'dev'"),
    "words for numbers": ({"start": "soon"}, "not a captioned segment"),
    "hostile name": ({"id": "../../x"}, "plain file name"),
}


@pytest.mark.parametrize("fault", SEGMENTS)
def test_refuses_broken_segments_and_leaves_nothing_behind(tmp_path: Path, fault: str) -> None:
    change, message = SEGMENTS[fault]
    good = capture_segment("fine", "free_walk", 0, 30)
    capture = write_capture(tmp_path / "capture", [good, capture_segment("x", "free_walk", 0, 70) | change])
    with pytest.raises(InputError, match=message) as error:
        prepare_mocap(capture, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["capture"]


RECORDINGS = {
    "no positions": ({"pos": None}, "not a file of recordings"),
    "21 joints": ({"pos": np.zeros((110, 21, 3))}, "22 SMPL joints"),
    "other joints": ({"joint_names": np.array(["hips"] * 22)}, "22 SMPL joints"),
    "30 fps": ({"fps": np.array(30.0)}, "found 30"),
    "offsets": ({"offsets": np.array([0, 80, 70])}, "do not divide"),
    "objects": ({"ids": np.array([{}, {}], dtype=object)}, "cannot read"),
    "NaN": ({"pos": np.full((110, 22, 3), np.nan)}, "NaN"),
    "unknown licence": ({"ids": np.array(["found", "lost"])}, "which the motions do not have"),
}


@pytest.mark.parametrize("fault", RECORDINGS)
def test_refuses_broken_recordings(tmp_path: Path, fault: str) -> None:
    arrays, message = RECORDINGS[fault]
    with pytest.raises(InputError, match=message):
        prepare_mocap(write_capture(tmp_path / "capture", **arrays), tmp_path / "out")


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no recordings": (lambda c: (c / "motions_nc.npz").unlink(), "motions_nc.npz"),
    "broken archive": (lambda c: (c / "motions_nc.npz").write_bytes(b"PK\x03\x04xx"), "motions_nc.npz"),
    "an array": (lambda c: np.save((c / "motions_nc.npz").open("wb"), np.zeros(3)), "motions_nc.npz"),
    "no segments": (lambda c: (c / "captions_rich.jsonl").unlink(), "captions_rich.jsonl"),
    "not JSON": (lambda c: (c / "captions_rich.jsonl").write_text("{\n"), "line 1"),
    "not an object": (lambda c: (c / "captions_rich.jsonl").write_text("[1]\n"), "line 1"),
    "empty": (lambda c: (c / "captions_rich.jsonl").write_text(""), "no segment"),
    "no provenance": (lambda c: (c / "provenance.csv").unlink(), "provenance.csv"),
    "licence missing": (
        lambda c: (c / "provenance.csv").write_text("id,license,source_repo,source_path\n"),
        "licence provenance.csv does not tell",
    ),
    "column missing": (
        lambda c: (c / "provenance.csv").write_text("id,source_repo,source_path\n"),
        "'license'",
    ),
    "not text": (lambda c: (c / "provenance.csv").write_bytes(b"\xff\xfe"), "as text"),
}


@pytest.mark.parametrize("fault", FILES)
def test_refuses_missing_and_broken_files(capture: Path, tmp_path: Path, fault: str) -> None:
    plant, message = FILES[fault]
    plant(capture)
    with pytest.raises(InputError, match=message):
        prepare_mocap(capture, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_refuses_an_unknown_group_and_a_folder_in_use(capture: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="licence group"):
        prepare_mocap(capture, tmp_path / "out", "gpl")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="other things"):
        prepare_mocap(capture, tmp_path, overwrite=True)


def test_the_command_says_what_it_wrote(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare_mocap_command(capture, tmp_path / "out") == 0
    assert "10 clips (6 train, 2 val, 2 test)" in " ".join(capsys.readouterr().out.split())
    prepare = COMMANDS["prepare"]
    assert isinstance(prepare, dict)
    assert prepare["mocap"] is prepare_mocap_command
    assert COMMANDS["check"] is check_command


def test_the_real_capture(local_data: Callable[[str], Path], tmp_path: Path) -> None:
    source = local_data("data/mocap")
    (tmp_path / "source").mkdir()
    for name in ("motions_nc.npz", "provenance.csv"):
        (tmp_path / "source" / name).symlink_to(source / name)
    lines = (source / "captions_rich.jsonl").read_text().splitlines()
    chosen = [line for line in lines if '"raise-up-left-hand"' in line or '"walk-turn-right"' in line][::20]
    (tmp_path / "source" / "captions_rich.jsonl").write_text("\n".join(chosen))
    prepare_mocap(tmp_path / "source", tmp_path / "out", "nc")

    assert not check_dataset(tmp_path / "out").errors
    dataset = HumanML3DDataset(tmp_path / "out")
    wrists = {side: JOINT_INDEX[f"{side}_wrist"] for side in ("left", "right")}
    for name, metadata in dataset.metadata.items():
        joints = dataset.joints(name)
        side, other = ("left", "right") if "left" in str(metadata.label) else ("right", "left")
        if "raise" in str(metadata.label):
            assert joints[:, wrists[side], 1].max() > joints[:, wrists[other], 1].max() + 0.1
        else:
            assert (joints[-1, 0, 0] > 0) == (side == "left")
        assert all(other not in caption.text for caption in dataset.captions(name))
