"""Read the original SMPL pickles as data: nothing that is in them is ever run, imported or constructed.

The authors distribute models as Python 2 pickles of NumPy arrays, SciPy sparse matrices and chumpy objects. A
pickle is a program; here every name it asks for becomes a stand-in that only remembers what it was given, and
names beyond those few are refused. Arrays are then made from the remembered bytes.
"""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import IO, Any

import numpy as np
from scipy import sparse

from motiongpt3.errors import InputError

MAX_FILE_BYTES = 2 * 2**30

_ARRAYS = ("v_template", "f", "J_regressor", "weights", "posedirs", "shapedirs", "kintree_table")
_OPTIONAL = ("hands_meanl", "hands_meanr", "hands_componentsl", "hands_componentsr")
_BROKEN_PICKLE = (
    pickle.UnpicklingError,
    struct.error,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    OverflowError,
    MemoryError,
    RecursionError,
    UnicodeError,
)
# Modules were renamed over the years; what matters is the last word of each.
_KNOWN = {
    "numpy": {"_reconstruct": "array", "ndarray": "type", "dtype": "dtype", "scalar": "scalar"},
    "scipy": {"csc_matrix": "sparse", "csr_matrix": "sparse", "coo_matrix": "sparse"},
    "copy_reg": {"_reconstructor": "object"},
    "copyreg": {"_reconstructor": "object"},
    "__builtin__": {"object": "type", "set": "other", "frozenset": "other"},
    "builtins": {"object": "type", "set": "other", "frozenset": "other"},
    "collections": {"OrderedDict": "other", "defaultdict": "other"},
    "weakref": {"WeakKeyDictionary": "other"},
    "_codecs": {"encode": "bytes"},
}


class _Remembered:
    """What a pickle asked to make, and from what."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def read_smpl_pickle(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a body model, by the names its authors give them.

    Args:
        path: ``.pkl`` file of SMPL, SMPL-H or SMPL-X.

    Returns:
        ``v_template``, ``f``, ``J_regressor`` (dense), ``weights``, ``posedirs``, ``shapedirs``,
        ``kintree_table``, and means and components of the hands where the model has them.

    Raises:
        InputError: if the file is missing, too large, broken, asks for anything else to be made, or lacks one
            of these arrays.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(f"{path}: {size / 2**30:.1f} GiB; body models are read up to 2 GiB")
        with path.open("rb") as file:
            contents = _load(file, path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except _BROKEN_PICKLE as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(f"{path}: not a readable pickle ({reason})") from error
    if not isinstance(contents, dict):
        raise InputError(f"{path}: holds no dictionary, so it is not a body model")
    arrays: dict[str, np.ndarray] = {}
    for name in (*_ARRAYS, *_OPTIONAL):
        if name not in contents:
            if name in _OPTIONAL:
                continue
            raise InputError(f"{path}: not a body model of the SMPL family: no array {name!r}")
        try:
            arrays[name] = _array(contents[name])
        except _BROKEN_PICKLE as error:
            raise InputError(f"{path}: array {name!r} cannot be read ({error})") from error
    return arrays


def _load(file: IO[bytes], path: Path) -> Any:
    # Made anew for every file, so that nothing a file does to them outlives it.
    words = ("array", "dtype", "sparse", "chumpy", "other")
    kinds = {word: type(word, (_Remembered,), {"kind": word}) for word in words}

    def make_object(kind: Any, *_: Any) -> Any:
        if not (isinstance(kind, type) and issubclass(kind, _Remembered)):
            raise pickle.UnpicklingError("asks for an object of an unexpected kind")
        return kind()

    def make_scalar(*arguments: Any) -> None:
        return None

    def make_bytes(text: Any, *_: Any) -> bytes:
        return text.encode("latin1") if isinstance(text, str) else b""

    others: dict[str, Any] = {"object": make_object, "scalar": make_scalar, "bytes": make_bytes, "type": None}

    # The pure Python one: the C one lets a small file ask for gigabytes of memo.
    class Reader(pickle._Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            package = module.partition(".")[0]
            kind = "chumpy" if package == "chumpy" else _KNOWN.get(package, {}).get(name)
            if kind is None:
                raise InputError(
                    f"{path}: asks for {module}.{name}, which no body model needs; nothing was run. "
                    "Do not trust this file"
                )
            return kinds[kind] if kind in kinds else others[kind]

        def persistent_load(self, pid: Any) -> Any:
            raise pickle.UnpicklingError("refers to objects outside the file")

    return Reader(file, encoding="latin1").load()


def _array(value: Any) -> np.ndarray:
    kind = getattr(value, "kind", None) if isinstance(value, _Remembered) else None
    if kind == "array":
        return _dense(value.state)
    if kind == "sparse":
        return _sparse(value.state)
    if kind == "chumpy":
        state = value.state
        if "x" in state:
            return _array(state["x"])
        # A selection of another array's values.
        picked = _array(state["a"]).ravel()[_array(state["idxs"]).astype(np.int64)]
        shape = state.get("preferred_shape")
        return picked.reshape(tuple(int(length) for length in shape)) if shape is not None else picked
    raise ValueError("not an array")


def _dense(state: Any) -> np.ndarray:
    _, shape, dtype, fortran, data = state
    code, details = str(dtype.arguments[0]), dtype.state
    if code[:1] not in "fiub" or not code[1:].isdigit():
        raise ValueError(f"holds {code} values, not numbers")
    order = ">" if details and details[1] == ">" else "<"
    raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
    array = np.frombuffer(raw, np.dtype(order + code)).astype(code)
    return array.reshape(tuple(int(length) for length in shape), order="F" if fortran else "C")


def _sparse(state: Any) -> np.ndarray:
    rows, columns = (int(length) for length in state.get("_shape", state.get("shape")))
    data, indices, starts = (_array(state[name]) for name in ("data", "indices", "indptr"))
    if rows > 1000 or columns > 1_000_000:
        raise ValueError(f"a matrix of {rows} x {columns} is no joint regressor")
    if len(starts) == columns + 1:
        matrix = sparse.csc_matrix((data, indices, starts), shape=(rows, columns))
    else:
        matrix = sparse.csr_matrix((data, indices, starts), shape=(rows, columns))
    matrix.check_format(full_check=True)
    return matrix.toarray()
