"""The HTTP endpoints."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from lang_jepa.errors import LangJepaError, visible
from lang_jepa.files.version import __version__
from lang_jepa.serving import documents, shapes
from lang_jepa.serving.curves import run_of
from lang_jepa.serving.guard import Counts, Guard, Rules
from lang_jepa.serving.refusals import Refused
from lang_jepa.serving.served import Served
from lang_jepa.serving.worker import Encoded, Worker

_ALONE = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy of the pages: nothing is loaded from, or sent to, another origin."""
_PAGE_HEADERS = {
    "Content-Security-Policy": _ALONE,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {"model": shapes.Error, "description": "What is wrong, in OpenAI's form."}
}


def make_app(served: Served, rules: Rules) -> FastAPI:
    """Return the server as an ASGI application; its lifespan starts and ends the model's thread.

    Args:
        served: the model to serve.
        rules: who may send requests, and how large these may be.
    """
    counts = Counts()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker = Worker(served, counts, most=rules.queue, patience=rules.timeout)
        app.state.worker = worker
        yield
        await asyncio.to_thread(worker.close)

    app = FastAPI(
        title=f"lang-jepa: {served.name}",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=_ERRORS,
    )
    _add_about(app, served, counts)
    _add_embeddings(app, served, rules)
    _add_tools(app, served, rules)
    app.add_exception_handler(LangJepaError, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_bug)
    paths = frozenset(str(route.path) for route in app.routes if hasattr(route, "path"))
    app.add_middleware(Guard, rules=rules, counts=counts, paths=paths)
    return app


def _add_about(app: FastAPI, served: Served, counts: Counts) -> None:
    """Add the endpoints that describe the model and the server, and the pages."""

    @app.get("/health")
    async def health() -> shapes.Health:
        """Report that the server is ready, and what its model can do."""
        return served.health()

    @app.get("/run")
    async def run(request: Request) -> shapes.Run:
        """Return the training curves, scores and settings of the model."""
        return await _worker(request).do(lambda: run_of(served))

    @app.get("/metrics")
    async def metrics() -> Response:
        """Return the metrics of the server in the Prometheus text format."""
        return Response(counts.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def page(path: str, name: str) -> None:
        text = files("lang_jepa.serving").joinpath(name).read_text(encoding="utf-8")

        @app.get(path, include_in_schema=False)
        async def shown() -> Response:
            return HTMLResponse(text, headers=_PAGE_HEADERS)

    page("/", "page.html")
    page("/docs", "docs.html")


def _add_embeddings(app: FastAPI, served: Served, rules: Rules) -> None:
    """Add OpenAI's endpoints."""

    @app.get("/v1/models")
    async def models() -> shapes.ModelList:
        """List the model that is served."""
        return shapes.ModelList(data=[shapes.Model(id=served.name, created=served.started)])

    @app.post("/v1/embeddings", response_model=shapes.EmbeddingList)
    async def embeddings(request: Request, asked: shapes.Embeddings) -> Response:
        """Return the vector of each text, as `ConceptModel.encode` computes it."""
        if asked.model not in (None, served.name):
            message = f"there is no model {visible(str(asked.model))!r} here: name {served.name!r}, or leave model out"
            raise Refused(404, message, param="model", code="model_not_found")
        if asked.dimensions not in (None, served.model.dim):
            message = f"vectors have {served.model.dim} numbers, and cannot be cut to {asked.dimensions}"
            raise Refused(400, message, param="dimensions")
        found = await _worker(request).encode(rules.texts(_texts_only(asked.input), "input"))
        return JSONResponse(_embedding_list(found, asked.encoding_format, served.name))


def _texts_only(given: str | list[str] | list[int] | list[list[int]]) -> list[str]:
    """Return the texts of `input`; raise Refused for token ids."""
    texts = [given] if isinstance(given, str) else [one for one in given if isinstance(one, str)]
    if len(texts) < len(given) and not isinstance(given, str):
        message = "input holds token ids, which belong to another model's tokenizer: send a text or a list of texts"
        raise Refused(400, message, param="input", code="token_ids")
    return texts


def _embedding_list(found: Encoded, encoding: str, name: str) -> dict[str, Any]:
    """Return the response body of `/v1/embeddings`."""
    if encoding == "base64":
        rows = [base64.b64encode(row.astype("<f4").tobytes()).decode("ascii") for row in found.vectors]
    else:
        rows = found.vectors.tolist()
    data = [{"object": "embedding", "index": number, "embedding": row} for number, row in enumerate(rows)]
    usage = {"prompt_tokens": found.tokens, "total_tokens": found.tokens}
    return {"object": "list", "data": data, "model": name, "usage": usage}


def _add_tools(app: FastAPI, served: Served, rules: Rules) -> None:
    """Add the endpoints for contexts and documents; each request is one call in the model's thread."""

    def tool(path: str, shape: type[Any], given: type[Any], work: Callable[[Served, Any], Any]) -> None:
        async def answer(request: Request, asked: Any) -> Any:
            _check_texts(asked, rules)
            return await _worker(request).do(lambda: work(served, asked))

        answer.__annotations__ = {"request": Request, "asked": shape, "return": given}
        answer.__name__, answer.__doc__ = path.strip("/"), work.__doc__
        app.post(path)(answer)

    tool("/predict", shapes.Predict, shapes.Predicted, Served.predict)
    tool("/rank", shapes.Rank, shapes.Ranking, Served.rank)
    tool("/search", shapes.Search, shapes.Found, Served.search)
    tool("/reply", shapes.Reply, shapes.Replies, Served.reply)
    tool("/decode", shapes.Decode, shapes.Texts, Served.decode)
    tool("/continue", shapes.Continue, shapes.Texts, Served.go_on)
    tool("/document", shapes.Document, shapes.Study, documents.study)
    tool("/surprise", shapes.Document, shapes.Study, documents.surprise)
    tool("/segment", shapes.Document, shapes.Study, documents.segment)
    tool("/neighbours", shapes.Document, shapes.Neighbours, documents.neighbours)


def _check_texts(asked: Any, rules: Rules) -> None:
    """Raise Refused for an empty list of texts in a request, too many texts, or one that is too long."""
    most = {"units": documents.MOST_UNITS}
    for name in type(asked).model_fields:
        value = getattr(asked, name)
        if isinstance(value, str) and name in ("text", "query", "context"):
            rules.texts([value], name)
        elif isinstance(value, list):
            rules.texts(shapes.texts_in(value) if name == "context" else value, name, most.get(name))


def _worker(request: Request) -> Worker:
    worker: Worker = request.app.state.worker
    return worker


async def _answer_error(request: Request, error: Exception) -> Response:
    refused = error if isinstance(error, Refused) else Refused(400, str(error))
    return JSONResponse(refused.body, refused.status, headers=refused.headers)


async def _answer_invalid(request: Request, error: Exception) -> Response:
    """Answer a request that does not fit its schema; the error does not repeat what was sent."""
    assert isinstance(error, RequestValidationError)
    wrong = error.errors()
    if wrong[0]["type"] == "json_invalid":
        return await _answer_error(request, Refused(400, "the body is not valid JSON", code="invalid_json"))
    names = [".".join(map(str, one["loc"][1:])) for one in wrong[:3]]
    said = [f"{name}: {one['msg']}" if name else str(one["msg"]) for name, one in zip(names, wrong, strict=False)]
    return await _answer_error(request, Refused(422, "; ".join(said), param=names[0] or None, code="invalid_request"))


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = f"no endpoint at {request.url.path}: GET /docs lists the endpoints" if error.status_code == 404 else ""
    return await _answer_error(request, Refused(error.status_code, said or str(error.detail)))


async def _answer_bug(request: Request, error: Exception) -> Response:
    """Answer a request that ran into a bug; the traceback is in the server's log."""
    return await _answer_error(request, Refused(500, "internal error; see the server's log"))
