"""What does it save that frozen text is read once? Clips per second of the text-to-motion stage, both ways.

    python benchmarks/training_speed.py --sizes official --steps 10

A step is what `motiongpt3 train` does: both branches, head, gradients, AdamW. With ``kept`` the keys and
values of the captions come from memory, with ``anew`` the text branch reads them in every step. The two take
turns, so that other work on the machine slows both. Weights and clips are random, since speed does not depend
on them. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import yaml
from torch import Tensor

from motiongpt3.models.backbones import text_config_from
from motiongpt3.models.codec import MotionCodec, build_vae, vae_to_json
from motiongpt3.models.folders import config_from_json, config_to_json
from motiongpt3.models.motiongpt import MotionGPT3, MotionGPT3Config
from motiongpt3.training.caption_memory import CaptionMemory
from motiongpt3.training.language import LanguageTraining, LanguageWeights, LiveTexts
from motiongpt3.training.lesson_batches import Draws, LessonBatch, MotionLessons
from motiongpt3.training.optimization import OptimizerConfig

CONFIGS = Path(__file__).parents[1] / "configs"
# Captions of HumanML3D have about 12 words; the chat template of SmolLM2 adds 6 tokens.
CAPTION_TOKENS = (8, 24)
TEXTS = 256


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", choices=("mini", "official"), default="mini")
    parser.add_argument("--steps", type=int, default=20, help="of each way, after one that is not counted")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    recipe = yaml.safe_load((CONFIGS / options.sizes / "text_to_motion.yaml").read_text())
    vae = yaml.safe_load((CONFIGS / options.sizes / "vae.yaml").read_text())["vae"]
    model = random_model(recipe["model"], MotionCodec(build_vae(vae)))
    batch = random_lessons(model, recipe["batch_size"], recipe.get("draws", 1))
    lengths = torch.randint(*CAPTION_TOKENS, (TEXTS,)).tolist()
    texts = [torch.randint(model.config.text.vocabulary_size, (length,)).tolist() for length in lengths]
    layers = model.config.motion.layers
    with tempfile.TemporaryDirectory() as folder:
        kept = CaptionMemory.of(texts, model.mot, Path(folder), "random")
        readers = {"kept": kept, "anew": LiveTexts(texts, model.mot, layers)}
        seconds = measure(model, readers, batch, options.steps)
    speeds = {name: recipe["batch_size"] / statistics.median(times) for name, times in seconds.items()}
    found = {
        "benchmark": "training_speed",
        "sizes": options.sizes,
        "batch_size": recipe["batch_size"],
        "threads": options.threads,
        "steps": options.steps,
        **{f"clips_per_second_{name}": round(speed, 2) for name, speed in speeds.items()},
        "ratio": round(speeds["kept"] / speeds["anew"], 2),
    }
    print(json.dumps(found))
    return 0


def random_model(description: dict, codec: MotionCodec) -> MotionGPT3:
    """A model of a recipe's sizes with random weights; its tokenizer is never asked."""
    from transformers import GPT2Config, LlamaConfig

    text = {
        "gpt2": GPT2Config(),
        # SmolLM2-135M.
        "smollm2": LlamaConfig(
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            tie_word_embeddings=True,
        ),
    }[description["text_backbone"]]
    values = {
        **description,
        "stage": "",
        "text": config_to_json(text_config_from(text)),
        "text_fingerprint": "",
        "vae": vae_to_json(codec.vae),
    }
    model = MotionGPT3(config_from_json(MotionGPT3Config, values, "model"), codec, tokenizer=None)  # type: ignore[arg-type]
    model.mot.freeze_text()
    return model.eval()


def random_lessons(model: MotionGPT3, batch_size: int, draws: int) -> LessonBatch:
    """Requests for clips of 40 to 196 frames."""
    counts = model.codec.latent_counts(torch.randint(40, 197, (batch_size,)))
    shape = (int(counts.max()), model.codec.latent_channels)
    lessons = MotionLessons(
        torch.randn(batch_size, *shape),
        counts,
        Draws(
            torch.randn(draws * batch_size, *shape),
            model.objective.sample_times(draws * batch_size),
            torch.rand(draws * batch_size) < 0.1,
        ),
        torch.randint(TEXTS, (batch_size,)).tolist(),
        torch.ones(batch_size, dtype=torch.long),
        None,
        torch.zeros(batch_size, dtype=torch.bool),
    )
    return LessonBatch(motions=lessons)


def measure(
    model: MotionGPT3, readers: dict[str, CaptionMemory | LiveTexts], batch: LessonBatch, steps: int
) -> dict[str, list[float]]:
    """Seconds of each step, by the way of reading."""
    config = OptimizerConfig(learning_rate=1e-5, steps=steps)
    modules = {
        name: LanguageTraining(model, reader, reader, config, LanguageWeights())
        for name, reader in readers.items()
    }
    optimizer = modules["kept"].configure_optimizers()["optimizer"]
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for step in range(steps + 1):
        for name, module in modules.items():
            start = time.perf_counter()
            loss: Tensor = module._losses(batch)[0]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step:
                seconds[name].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
