"""The verb `generate`: text from a GPT."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lang_jepa.errors import LangJepaError


def generate(
    run: Annotated[Path, typer.Argument(help="A GPT's run directory or model directory.")],
    prompt: Annotated[
        str | None,
        typer.Option(help="Beginning of the text (default: standard input; '' for a new document)."),
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens written at most.")] = 100,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Of the draws; 0 always takes the likeliest token.")
    ] = 0.8,
    top_k: Annotated[int, typer.Option(min=0, help="Draw from so many of the likeliest (0: all).")] = 0,
    top_p: Annotated[float, typer.Option(help="Share of probability drawn from (1: all).")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    samples: Annotated[int, typer.Option(min=1, help="Texts written.")] = 1,
) -> None:
    """Let a GPT go on after a beginning; a text ends with its document."""
    from lang_jepa.cli.console import plain
    from lang_jepa.inference.generate import TextGPT
    from lang_jepa.inference.gpt_folder import find_gpt
    from lang_jepa.inference.model_folder import unfinished

    if find_gpt(run) is None:
        raise LangJepaError(
            unfinished(run)
            or f"{run} is no run of a GPT: `lang-jepa train gpt_jepa` makes one. What an encoder imagines, "
            "`lang-jepa infer RUN --context ... --continue 3` tells"
        )
    if prompt is None:
        if sys.stdin.isatty():
            raise LangJepaError(
                "there is nothing to go on from: give --prompt TEXT, or text on standard input"
            )
        prompt = sys.stdin.read().removeprefix("\ufeff").rstrip("\n")
    texts = TextGPT.load(run).write(
        prompt,
        tokens=tokens,
        samples=samples,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
    )
    for number, text in enumerate(texts, start=1):
        if samples > 1:
            plain(f"--- {number}")
        plain(text)
