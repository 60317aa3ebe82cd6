"""Weights as small integers: errors within half a step, GPTQ against plain rounding, files that come back bit for bit."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lang_jepa.errors import LangJepaError
from lang_jepa.export import artifact, quantise
from lang_jepa.export.artifact import START, ZSTD_LEVELS, pack6, read_artifact, unpack6, write_artifact
from lang_jepa.export.quantise import (
    Codes,
    Rounding,
    Same,
    input_grams,
    quantise_rows,
    quantise_state,
    restore_state,
)


class Tied(nn.Module):
    """An embedding that is also the prediction matrix, a layer with a bias, a norm, and a buffer of integers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(100, 64)
        self.up, self.down = nn.Linear(64, 192), nn.Linear(192, 64, bias=False)
        self.norm = nn.LayerNorm(64)
        self.head = nn.Linear(64, 100, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("places", torch.arange(7))
        self.register_buffer("flag", torch.tensor(True))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        return self.head(self.norm(x + self.down(torch.relu(self.up(x)))))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Equal names, dtypes and bits."""
    return one.keys() == other.keys() and all(
        a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(one.values(), other.values(), strict=True)
    )


@pytest.mark.parametrize("bits", [8, 6])
def test_rounding_to_the_nearest(bits: int) -> None:
    """Inside the limits an error is half a step at most, the codes use all levels, outside them they stay there."""
    rows = torch.randn(7, 500, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 2, 7)[:, None]
    rounding, top = Rounding(bits=bits, clip="std", clip_at=2.5), 2 ** (bits - 1) - 1  # type: ignore[arg-type]
    found = quantise_rows(rows, rounding)
    limit = 2.5 * rows.square().mean(1, keepdim=True).sqrt()
    scale = found.scale.float()[:, None]
    torch.testing.assert_close(scale, limit / top, rtol=2**-10, atol=1e-7)
    error = (found.restore() - rows.clamp(-scale * top, scale * top)).abs()
    assert bool((error <= scale * 0.5001).all())
    assert found.codes.amin() == -top
    assert found.codes.amax() == top


def test_the_percentile_and_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantise, "MOST_AT_ONCE", 1500)  # a large matrix is looked at in parts
    rows = torch.linspace(-1, 1, 1001).repeat(2, 1) * torch.tensor([[1.0], [4.0]])
    for at, limit in ((100.0, 1.0), (90.0, 0.9)):
        found = quantise_rows(rows, Rounding(bits=8, clip="percentile", clip_at=at))
        torch.testing.assert_close(found.scale.float(), torch.tensor([1.0, 4.0]) * limit / 127, rtol=1e-3, atol=0)
    wide = quantise_rows(rows, Rounding(bits=8, clip="std", clip_at=1e9))
    torch.testing.assert_close(wide.scale.float(), torch.tensor([1.0, 4.0]) / 127, rtol=1e-3, atol=0)


def test_rows_of_zeros_and_of_tiny_numbers() -> None:
    rows = torch.zeros(3, 64)
    rows[1], rows[2] = 1e-9, torch.linspace(-1e-6, 1e-6, 64)
    found = quantise_rows(rows, Rounding())
    assert bool((found.scale > 0).all())
    assert found.restore()[:2].abs().max() <= 1e-8
    assert (found.restore()[2] - rows[2]).abs().max() < 1e-7


def test_a_state_dict_comes_back_into_its_model() -> None:
    model = Tied()
    entries = quantise_state(model.state_dict(), Rounding(bits=8))
    kinds = {name: type(entry) for name, entry in entries.items()}
    assert kinds["embedding.weight"] is kinds["up.weight"] is kinds["down.weight"] is Codes
    assert entries["head.weight"] == Same("embedding.weight")
    assert entries["up.bias"].dtype == entries["norm.weight"].dtype == torch.float16  # type: ignore[union-attr]
    restored = restore_state(entries)
    other = Tied()
    other.load_state_dict(restored)
    tokens = torch.arange(100)
    before, after = model(tokens), other(tokens)
    assert 0 < (before - after).abs().max() < 0.05 * before.std()
    assert torch.equal(other.places, model.places)


def test_numbers_that_half_precision_cannot_hold() -> None:
    state = {"gain": torch.tensor([1.0, 1e6]), "wide": torch.full((2, 2), 70_000.0)}
    assert same(restore_state(quantise_state(state, Rounding())), state)
    with pytest.raises(LangJepaError, match="not finite, in gain"):
        quantise_state({"gain": torch.tensor([1.0, float("nan")])}, Rounding())


def test_gptq_serves_the_inputs_better_than_plain_rounding() -> None:
    """On correlated inputs the layer's output error falls by a third at least; codes and scales keep their form."""
    generator = torch.Generator().manual_seed(1)
    layer = nn.Linear(96, 80)
    mix = torch.randn(96, 96, generator=generator) * torch.logspace(0, -2, 96)
    inputs = torch.randn(2000, 96, generator=generator) @ mix.T
    inputs[:, 5] = 0  # an input that never comes
    grams = input_grams(nn.Sequential(layer), lambda: layer(inputs))
    torch.testing.assert_close(grams["0.weight"].float(), inputs.T @ inputs, rtol=1e-4, atol=1e-2)
    weight = layer.weight.detach()
    for bits in (6, 8):
        rounding = Rounding(bits=bits)  # type: ignore[arg-type]
        plain, careful = quantise_rows(weight, rounding), quantise_rows(weight, rounding, grams["0.weight"])
        errors = [float((inputs @ (one.restore() - weight).T).square().sum()) for one in (plain, careful)]
        assert errors[1] < 0.67 * errors[0], bits
        assert torch.equal(plain.scale, careful.scale)
        assert torch.equal(plain.codes[:, 5], careful.codes[:, 5])
        assert careful.codes.abs().max() <= 2 ** (bits - 1) - 1


def test_gptq_with_independent_inputs_is_plain_rounding() -> None:
    weight = torch.randn(9, 40, generator=torch.Generator().manual_seed(2))
    plain = quantise_rows(weight, Rounding(bits=6))
    careful = quantise_rows(weight, Rounding(bits=6), torch.eye(40) * 17.0)
    assert torch.equal(plain.codes, careful.codes)


def test_grams_of_a_whole_model() -> None:
    model, tokens = Tied(), torch.arange(60).reshape(3, 20)
    grams = input_grams(model, lambda: [model(tokens), model(tokens)])
    assert grams.keys() == {"up.weight", "down.weight", "head.weight"}
    once = model.embedding(tokens).reshape(-1, 64).detach().double()
    torch.testing.assert_close(grams["up.weight"], 2 * once.T @ once, rtol=1e-4, atol=1e-3)
    assert not model.up._forward_pre_hooks
    entries = quantise_state(model.state_dict(), Rounding(), grams=grams)
    plain = quantise_state(model.state_dict(), Rounding())
    assert not torch.equal(entries["up.weight"].codes, plain["up.weight"].codes)  # type: ignore[union-attr]
    assert torch.equal(entries["embedding.weight"].codes, plain["embedding.weight"].codes)  # type: ignore[union-attr]
    with pytest.raises(LangJepaError, match=r"up\.weight has 64 inputs, and was calibrated with 192"):
        quantise_state(model.state_dict(), Rounding(), grams={"up.weight": grams["down.weight"]})


@given(codes=st.lists(st.integers(-32, 31), max_size=50))
def test_six_bits_four_in_three_bytes(codes: list[int]) -> None:
    packed = pack6(np.array(codes, dtype=np.int8))
    assert packed.dtype == np.uint8
    assert len(packed) == 3 * -(-len(codes) // 4)
    assert unpack6(packed, len(codes)).tolist() == codes
    number = int.from_bytes(packed.tobytes(), "little")
    assert [(number >> 6 * place & 63) - 32 for place in range(len(codes))] == codes


@pytest.mark.parametrize("codec", ["zstd", "brotli"])
@pytest.mark.parametrize(("bits", "packing"), [(8, "smallest"), (6, "packed"), (6, "bytes"), (6, "smallest")])
def test_a_file_comes_back_bit_for_bit(bits: int, packing: str, codec: str, tmp_path: Path) -> None:
    if codec == "brotli":
        pytest.importorskip("brotli")
    entries = quantise_state(Tied().state_dict(), Rounding(bits=bits))  # type: ignore[arg-type]
    about = {"recipe": "gpt", "lr": 0.1, "name": "Zoë"}
    done = write_artifact(tmp_path / "m.ljq", entries, about, codec=codec, packing=packing)  # type: ignore[arg-type]
    assert done.bytes == (tmp_path / "m.ljq").stat().st_size
    again_about, again = read_artifact(tmp_path / "m.ljq")
    assert again_about == about
    assert same(restore_state(again), restore_state(entries))
    if packing == "smallest" and bits == 6:
        sizes = [
            write_artifact(tmp_path / way, entries, about, codec=codec, packing=way).bytes  # type: ignore[arg-type]
            for way in ("packed", "bytes")
        ]
        assert done.bytes == min(sizes)
        assert done.packing == ("packed", "bytes")[sizes.index(min(sizes))]


def test_zstd_is_taken_at_the_level_that_gives_the_smallest_file(tmp_path: Path) -> None:
    """Of codes of random numbers that is not the highest."""
    torch.manual_seed(0)
    entries = quantise_state({"a": torch.randn(512, 1024)}, Rounding(bits=6))
    path = tmp_path / "m.ljq"
    write_artifact(path, entries, {}, packing="bytes")
    squeezed = path.read_bytes()[START:]
    body = zstandard.ZstdDecompressor().decompress(squeezed)
    sizes = {level: len(zstandard.ZstdCompressor(level=level).compress(body)) for level in ZSTD_LEVELS}
    assert len(squeezed) == min(sizes.values()) < sizes[max(ZSTD_LEVELS)]


def test_tied_tensors_are_kept_once(tmp_path: Path) -> None:
    torch.manual_seed(3)
    tied, apart = {"a": torch.randn(64, 100)}, {"a": torch.randn(64, 100)}
    tied["b"], apart["b"] = tied["a"], torch.randn(64, 100)
    sizes = [
        write_artifact(tmp_path / str(i), quantise_state(state, Rounding()), {}).bytes
        for i, state in enumerate((tied, apart))
    ]
    assert sizes[0] < 0.6 * sizes[1]
    found = restore_state(read_artifact(tmp_path / "0")[1])
    assert found["a"] is found["b"]
    turned = restore_state(quantise_state({"a": tied["a"], "t": tied["a"].T}, Rounding()))
    assert turned["t"].shape == (100, 64)


def test_sizes_and_the_cap(tmp_path: Path) -> None:
    """6 bits take three quarters of 8; what does not fit is not written."""
    state = {"w": torch.randn(256, 400, generator=torch.Generator().manual_seed(0))}
    eight = write_artifact(tmp_path / "8", quantise_state(state, Rounding(bits=8)), {})
    six = write_artifact(tmp_path / "6", quantise_state(state, Rounding(bits=6)), {}, packing="packed")
    assert eight.cap == 16_000_000
    assert six.bytes <= 256 * 400 * 6 / 8 + 256 * 2 + 300
    assert six.bytes < 0.8 * eight.bytes
    with pytest.raises(LangJepaError, match=r"the quantised model takes .* more than the cap of 50,000; nothing was"):
        write_artifact(tmp_path / "no", quantise_state(state, Rounding(bits=6)), {}, cap=50_000)
    assert not (tmp_path / "no").exists()


def test_damaged_and_foreign_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.ljq"
    entries = quantise_state(Tied().state_dict(), Rounding())
    write_artifact(path, entries, {})
    data = path.read_bytes()
    for place in (30, 100, len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(LangJepaError, match="damaged: its contents do not match its checksum"):
            read_artifact(path)
    path.write_bytes(data[:-5])
    with pytest.raises(LangJepaError, match="damaged"):
        read_artifact(path)
    for content in (b"", b"LJQUANT", b"PK" + data[2:]):
        path.write_bytes(content)
        with pytest.raises(LangJepaError, match=f"{path} is not a quantised model"):
            read_artifact(path)
    monkeypatch.setattr(artifact, "VERSION", 2)
    path.write_bytes(data)
    with pytest.raises(LangJepaError, match="has version 1, this program reads 2"):
        read_artifact(path)
    with pytest.raises(LangJepaError, match="No such file"):
        read_artifact(tmp_path / "none")


def _crafted(header: object, content: bytes, *, size: int | None = None, codec: str = "zstd") -> bytes:
    """A file whose checksum is right, whatever else it says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = len(text).to_bytes(4, "little") + text + content
    squeezed = zstandard.ZstdCompressor().compress(body)
    start = b"LJQUANT" + bytes([artifact.VERSION]) + codec.ljust(8).encode()
    start += (len(body) if size is None else size).to_bytes(8, "little")
    return start + hashlib.sha256(squeezed).digest() + squeezed


def _one(**changed: object) -> dict[str, object]:
    return {"about": {}, "packed": False, "tensors": [{"name": "a", "bits": 8, "shape": [2, 3]} | changed]}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_crafted(_one(), bytes(10), size=2**40), "are said to become"),
        (_crafted(_one(), bytes(2**25)), "are said to become"),  # zeros: a small file for much memory
        (_crafted(_one(), bytes(9)), "take 10 bytes, and it has 9"),
        (_crafted(_one(), bytes(11)), "take 10 bytes, and it has 11"),
        (_crafted(_one(), bytes(8), size=len(json.dumps(_one())) + 14), "shorter than it says"),
        (_crafted(_one(), bytes(12), size=len(json.dumps(_one())) + 14), "longer than it says"),
        (_crafted(_one(shape=[-2, -3]), bytes(10)), "has the shape"),
        (_crafted(_one(shape=[2**30, 2**30, 2**30]), bytes(10)), "tensors take"),
        (_crafted(_one(shape=[]), bytes(10)), "in 8 bits"),
        (_crafted(_one(bits=4), bytes(10)), "in 4 bits"),
        (_crafted(_one(bits=None, dtype="object"), bytes(10)), "is of object"),
        (_crafted(_one(same="b"), b""), "the same as b, which does not come before it"),
        (_crafted(_one(name=3), bytes(10)), "odd entry"),
        (_crafted(_one() | {"tensors": _one()["tensors"] * 2}, bytes(20)), "tensors take"),
        (_crafted({"about": {}}, b""), "lists no tensors"),
        (_crafted([], b""), "nothing about a model"),
        (_crafted(b"[" * 100_000, b""), "not JSON"),
        (_crafted(_one(), bytes(10), codec="lzma"), "unknown codec 'lzma'"),
    ],
)
def test_crafted_files_are_refused_by_name(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "m.ljq"
    path.write_bytes(data)
    with pytest.raises(LangJepaError, match=said):
        read_artifact(path)


def test_settings_that_cannot_be() -> None:
    for options, reason in (
        ({"bits": 4}, "weights of 4 bits"),
        ({"clip": "max"}, "unknown clipping 'max'"),
        ({"clip": "percentile", "clip_at": 101.0}, r"percentile 101\.0 is out of range"),
        ({"clip": "std", "clip_at": 0.0}, "is out of range"),
    ):
        with pytest.raises(LangJepaError, match=reason):
            Rounding(**options)  # type: ignore[arg-type]
    with pytest.raises(LangJepaError, match="unknown codec 'gzip'"):
        write_artifact(Path("never"), {}, {}, codec="gzip")
