"""The verb `serve`: a model behind HTTP; heavy modules are imported only when used."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lang_jepa.cli.options import AnyModel
from lang_jepa.errors import check_extra

if TYPE_CHECKING:
    from lang_jepa.serving.served import Served


def serve(
    model: AnyModel,
    index: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of an index of this model, for /search and /reply.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="What the model computes in: fp32, bf16, or auto (bf16 where the processor has it). Default: that "
            "of the index, or fp32 without one.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on (0: any that is free).")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="LANG_JEPA_API_KEY", show_envvar=True, help="Key that requests must carry."),
    ] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Let other machines send requests without a key.")
    ] = False,
    max_body: Annotated[int, typer.Option(min=1000, help="Most bytes in the body of a request.")] = 4_000_000,
    max_texts: Annotated[int, typer.Option(min=1, help="Most texts in a request.")] = 2048,
    max_characters: Annotated[int, typer.Option(min=1, help="Most characters in a text.")] = 200_000,
    queue: Annotated[int, typer.Option(min=1, help="Requests that may wait for the model.")] = 256,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1, help="Seconds that a body may take to arrive, and that a request may wait for the model."
        ),
    ] = 30.0,
) -> None:
    """Serve a model over HTTP: embeddings in OpenAI's form, predictions, documents, search, and a page."""
    check_extra("serve", "serve")
    from lang_jepa.cli.console import plain
    from lang_jepa.serving.guard import Rules
    from lang_jepa.serving.server import serve as serve_model

    def ready(served: "Served", address: str) -> None:
        plain(f"{served.name} is served at {address} (page), {address}/docs (endpoints); Ctrl-C ends it", whole=True)

    rules = Rules(host, api_key, allow_remote, max_body, max_texts, max_characters, queue, timeout)
    serve_model(model, index=index, precision=precision, rules=rules, port=port, on_ready=ready)
    plain("ended: every request that was running is answered")
