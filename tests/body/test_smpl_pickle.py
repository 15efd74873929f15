from __future__ import annotations

import contextlib
import os
import pickle
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from motiongpt3.body.smpl_pickle import read_smpl_pickle
from motiongpt3.errors import InputError
from tests.body.smpl_arrays import smpl_arrays


class Chumpy:
    """Pickled under chumpy's name, with an array in it, as in the authors' files."""

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)


class Python2Array:
    """Pickled as Python 2 pickled arrays: their bytes are text in Latin-1."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __reduce__(self) -> tuple[Any, ...]:
        function, arguments, state = np.array(self.array).__reduce__()
        version, shape, dtype, fortran, data = state
        return function, arguments, (version, shape, dtype, fortran, data.decode("latin1"))


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> dict[str, type]:
    """Classes named as in chumpy, importable while they are pickled."""
    classes = {}
    for module, name in (("chumpy.ch", "Ch"), ("chumpy.reordering", "Select"), ("chumpy.ch", "MatVecMult")):
        made = type(name, (Chumpy,), {"__module__": module})
        home = sys.modules.get(module) or ModuleType(module)
        setattr(home, name, made)
        monkeypatch.setitem(sys.modules, module, home)
        classes[name] = made
    monkeypatch.setitem(sys.modules, "chumpy", ModuleType("chumpy"))
    return classes


def write(contents: object, path: Path, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(contents, protocol=protocol))
    return path


def test_plain_arrays_are_read(tmp_path):
    arrays = smpl_arrays("smplh", vertices=104)
    found = read_smpl_pickle(write(arrays | {"bs_type": "lrotmin"}, tmp_path / "a.pkl"))
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert (found[name] == array).all()
        assert found[name].shape == array.shape


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_the_objects_of_the_authors_files_are_read(tmp_path, chumpy, protocol):
    arrays = smpl_arrays("smpl", vertices=96)
    contents: dict[str, object] = dict(arrays)
    contents["J_regressor"] = sparse.csc_matrix(arrays["J_regressor"])
    contents["v_template"] = chumpy["Ch"](x=Python2Array(arrays["v_template"]), _dirty_vars=set())
    everything = np.concatenate([arrays["shapedirs"], arrays["shapedirs"]], axis=-1)
    kept = np.arange(everything.size).reshape(everything.shape)[..., :16].ravel()
    contents["shapedirs"] = chumpy["Select"](
        a=chumpy["Ch"](x=everything), idxs=kept, preferred_shape=arrays["shapedirs"].shape
    )
    contents["J"] = chumpy["MatVecMult"](mtx=1)
    contents["weights"] = Python2Array(np.asfortranarray(arrays["weights"]))
    contents["f"] = Python2Array(arrays["f"].astype(">u4"))
    path = write(contents, tmp_path / "a.pkl", protocol)
    for name in list(sys.modules):
        if name.startswith("chumpy"):
            del sys.modules[name]
    found = read_smpl_pickle(path)
    for name, array in arrays.items():
        assert np.array_equal(found[name], array), name


class Hostile:
    """Runs a function when it is unpickled the ordinary way."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


@pytest.mark.parametrize("function", [os.mkdir, exec, eval, getattr, __import__, open])
def test_nothing_is_run(tmp_path, function):
    marker = tmp_path / "made"
    argument = str(marker) if function in (os.mkdir, open) else f"__import__('os').mkdir({str(marker)!r})"
    arguments = (argument, "w") if function is open else (argument,)
    contents = smpl_arrays(vertices=96) | {"J": Hostile(function, *arguments)}
    path = write(contents, tmp_path / "a.pkl")
    with pytest.raises(InputError, match="nothing was run"):
        read_smpl_pickle(path)
    assert not marker.exists()


def test_arrays_of_objects_are_refused(tmp_path):
    arrays: dict[str, object] = dict(smpl_arrays(vertices=96))
    arrays["weights"] = np.array([{}, []], dtype=object)
    with pytest.raises(InputError, match="weights"):
        read_smpl_pickle(write(arrays, tmp_path / "a.pkl"))


def test_what_is_missing_is_named(tmp_path):
    arrays = smpl_arrays(vertices=96)
    del arrays["posedirs"]
    with pytest.raises(InputError, match="'posedirs'"):
        read_smpl_pickle(write(arrays, tmp_path / "a.pkl"))
    with pytest.raises(InputError, match="no dictionary"):
        read_smpl_pickle(write([1, 2], tmp_path / "a.pkl"))
    with pytest.raises(InputError, match="no such file"):
        read_smpl_pickle(tmp_path / "none.pkl")


def test_a_small_file_cannot_ask_for_much_memory(tmp_path):
    # LONG_BINPUT of a memo entry far away; a regressor with more columns than there is memory.
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02}r" + struct.pack("<I", 2**31) + b".")
    with pytest.raises(InputError, match="v_template"):
        read_smpl_pickle(path)
    arrays: dict[str, object] = dict(smpl_arrays(vertices=96))
    arrays["J_regressor"] = sparse.csc_matrix((np.ones(1), ([0], [0])), shape=(24, 2_000_000))
    with pytest.raises(InputError, match="J_regressor"):
        read_smpl_pickle(write(arrays, path))


@settings(max_examples=60)
@given(data=st.data())
def test_damaged_files_are_refused_or_read(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "a.pkl"
    raw = bytearray(pickle.dumps(smpl_arrays(vertices=24), protocol=2))
    # Damage where the structure is: the numbers of the arrays may be anything.
    place = data.draw(st.integers(0, 400))
    raw[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw)))]
    path.write_bytes(bytes(raw))
    with contextlib.suppress(InputError):
        assert "weights" in read_smpl_pickle(path)
