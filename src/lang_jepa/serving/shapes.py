"""Request and response bodies of the endpoints; /openapi.json and /docs are generated from them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lang_jepa.inference.document import Using

TopK = Annotated[int, Field(ge=1, le=100, description="How many, best first.")]
Role = Annotated[
    str | None, Field(max_length=100, description="Whose turn comes next, of a model that knows who speaks.")
]


class _Request(BaseModel):
    """A request body; unknown fields are refused, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Message(BaseModel):
    """One message of a chat, in OpenAI's format; its text and its role are read."""

    model_config = ConfigDict(extra="allow", strict=True)

    role: str
    content: str | list[dict[str, Any]] | None = None


Context = str | list[str] | list[Message]


def texts_in(context: Context) -> list[str]:
    """Return the texts of a context; for a message in parts, the texts of the parts."""
    found = []
    for one in [context] if isinstance(context, str) else context:
        content = one.content if isinstance(one, Message) else one
        parts = [part.get("text") for part in content] if isinstance(content, list) else [content]
        found += [text for text in parts if isinstance(text, str)]
    return found


class Embeddings(_Request):
    """Texts to encode, in OpenAI's format."""

    input: str | list[str] | list[int] | list[list[int]] = Field(
        description="A text or a list of texts; lists of token ids are refused."
    )
    model: str | None = Field(default=None, description="Name of the model, as GET /v1/models has it; may be left out.")
    encoding_format: Literal["float", "base64"] = Field(default="float", description="base64: float32, little endian.")
    dimensions: int | None = Field(default=None, description="If given, it must be the width of the model.")
    user: str | None = Field(default=None, description="Accepted because clients send it; not used.")


class _Context(_Request):
    context: Context = Field(
        description="What came before, oldest first: sentences, lines, turns or messages; or one text, which is split."
    )
    roles: list[str] | None = Field(default=None, description="Who said each turn of the context, of a model of turns.")
    role: Role = None


class Predict(_Context):
    """A context, after which the next unit is predicted."""

    top_k: TopK = 5


class Rank(_Context):
    """A context, and candidates that may follow it."""

    candidates: list[str] = Field(description="Texts that may come next.")


class Reply(_Request):
    """A conversation so far."""

    context: Context = Field(description="Turns or messages so far, oldest first; or a text with a turn a line.")
    top_k: TopK = 3


class Search(_Request):
    """What to search for."""

    query: str | None = Field(default=None, description="A text; with mode=after it is the context.")
    context: Context | None = Field(default=None, description="With mode=after: what came before, oldest first.")
    mode: Literal["meaning", "after"] = Field(
        default="meaning", description="meaning: what means the same; after: what may come next."
    )
    top_k: TopK = 10
    paragraph: bool = Field(default=False, description="Also the paragraph around each hit.")


class Document(_Request):
    """A text to study, whole or already split into units."""

    text: str | None = Field(default=None, description="The text.")
    units: list[str] | None = Field(default=None, description="Or its sentences, lines or turns, in order.")
    format: Literal["auto", "prose", "lines", "turns"] = Field(
        default="auto",
        description="How the text is split: auto is what the model was trained on (with a pretrained encoder: turns "
        "if most lines name a speaker, else prose).",
    )
    using: Using = Field(default="best", description="best: what evaluate measured as better; predictor, or baseline.")
    segments: int | None = Field(
        default=None, ge=1, le=1000, description="Number of topics (default: as many as are found)."
    )


class Decode(_Request):
    """Texts whose concepts are decoded, or a context whose next unit is predicted and decoded."""

    texts: list[str] | None = Field(default=None, description="Texts to encode and decode.")
    context: Context | None = Field(default=None, description="What came before: the prediction after it is decoded.")


class Continue(_Request):
    """A text to continue."""

    text: str = Field(description="The beginning.")
    tokens: int | None = Field(
        default=None, ge=1, le=1000, description="With a GPT: most tokens to write (default 100)."
    )
    sentences: int | None = Field(
        default=None, ge=1, le=10, description="With a decoder: how many sentences to imagine (default 3)."
    )


class Place(BaseModel):
    """The position of a unit of the index."""

    document: str = Field(description="Id of its document: file and row, or file and line of an index of lines.")
    position: int = Field(description="In the document, from 0.")


class Hit(BaseModel):
    """A unit of the index."""

    text: str
    score: float = Field(description="Cosine in the model's similarity.")
    place: Place


class IndexInfo(BaseModel):
    """The index that is served."""

    units: int


class Health(BaseModel):
    """The model that is served, and what it can do."""

    status: Literal["ok"] = "ok"
    model: str = Field(description="Name of its folder.")
    recipe: str | None = Field(description="Recipe it was trained with; null for a pretrained encoder.")
    units: str = Field(description="What it reads: sentences, lines, turns or texts.")
    precision: str = Field(description="Precision it computes in: fp32 or bf16.")
    can: list[str] = Field(description="Endpoints that this model can answer.")
    index: IndexInfo | None


class Embedding(BaseModel):
    """The unit vector of one text."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """How many tokens were read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """Vectors in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class Model(BaseModel):
    """The model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix time at which the server started.")
    owned_by: str = "lang-jepa"


class ModelList(BaseModel):
    """The models that a request may name; there is only one."""

    object: Literal["list"] = "list"
    data: list[Model]


class Predicted(BaseModel):
    """What is expected next."""

    embedding: list[float] = Field(description="Predicted concept, a unit vector.")
    nearest: list[Hit] = Field(description="Units of the index nearest to it; empty without an index.")


class RankedCandidate(BaseModel):
    """A candidate with its scores."""

    index: int = Field(description="In the request, from 0.")
    text: str
    score: float = Field(description="Cosine with the prediction.")
    fits: bool | None = Field(
        description="Whether it is closer to the prediction than 95 % of the training text stored with the model; null "
        "if none is stored."
    )
    copying: float = Field(
        description="Cosine with the recency-weighted mean of the context (.2 the last unit, .3 the last 3, .5 the "
        "last 8), in the same space: the score without a predictor."
    )


class Ranking(BaseModel):
    """Candidates, the likeliest first."""

    ranked: list[RankedCandidate]


class Unit(BaseModel):
    """A sentence, line or turn of a document."""

    text: str
    line: int | None = Field(
        default=None, description="Line on which it begins, from 1; null if the text does not contain it verbatim."
    )
    speaker: str = Field(default="", description="Who says it, if the text names somebody.")
    surprise: float | None = Field(
        default=None,
        description="Standard deviations by which it fits worse after what was before than shuffled units do: above 0 "
        "is surprising, -2 fits well; null if it cannot be computed.",
    )
    out_of_place: float | None = Field(default=None, description="The same between its neighbours on both sides.")
    expected: list[Hit] = Field(
        default=[],
        description="Units of the index that were expected here instead; only for the most surprising units.",
    )


class By(BaseModel):
    """How something was computed."""

    choice: Literal["prediction", "copying"] = Field(description="By the predictor, or from neighbouring units alone.")
    words: str


class Segment(BaseModel):
    """A topic of the document."""

    start: int = Field(description="Its first unit.")
    end: int = Field(description="The unit behind its last one.")
    title: str = Field(description="Its most central unit, shortened.")


class Repeated(BaseModel):
    """A unit that repeats an earlier one."""

    unit: int
    earlier: int
    cosine: float


class Study(BaseModel):
    """What was found in a document: surprise, units out of place, topics, repetitions."""

    units: list[Unit]
    by: dict[str, By] = Field(description="Of surprise, out_of_place and segments.")
    against: str | None = Field(default=None, description="Whose units were shuffled in: document or training.")
    boundaries: list[int] = Field(default=[], description="Units at which a new topic begins.")
    segments: list[Segment] = []
    repeated: list[Repeated] = []
    map: list[tuple[float, float]] = Field(
        default=[], description="The units' vectors on their first two principal axes."
    )
    notes: list[str] = Field(default=[], description="What a reader should know.")
    seconds: float


class Near(BaseModel):
    """A unit of the document, with its score."""

    unit: int = Field(description="Its number, from 0; of units that the model reads as the same the first.")
    score: float = Field(description="Cosine, in the similarity that the method uses.")


class Around(BaseModel):
    """The neighbours of one unit."""

    similar: list[Near] = Field(description="The units that are most like it, best first.")
    expected: list[Near] = Field(description="The units closest to what was expected here; empty for the first unit.")
    rank: int | None = Field(
        description="Rank of this unit among all different units, by how strongly it was expected."
    )


class Neighbours(BaseModel):
    """The neighbours of each unit of a document, in order."""

    units: list[Around]
    different: int = Field(
        description="Units that the model reads differently: without the speaker, and masked where it masks."
    )
    by: By
    seconds: float


class FoundHit(Hit):
    """A unit of the index that was found; `path` and `line` are given as far as its file still confirms them."""

    path: str | None = Field(default=None, description="Its file, from the folder that the server was started in.")
    line: int | None = Field(default=None, description="Line on which it begins, from 1.")
    paragraph: str | None = Field(default=None, description="Around it, if that was asked for.")


class Found(BaseModel):
    """Units of the index, best first."""

    hits: list[FoundHit]


class ReplyHit(Hit):
    """A turn of the index that was said in a similar position."""

    likeness: float = Field(description="Cosine of that context with this one.")
    after: str = Field(description="The turn that it answered there.")


class Replies(BaseModel):
    """What may be said next."""

    replies: list[ReplyHit] = Field(description="From the positions where the model expects most nearly the same.")
    copying: list[ReplyHit] = Field(description="Without a predictor: from those whose last turn is most similar.")


class Texts(BaseModel):
    """The texts that were decoded or written."""

    texts: list[str]


class Curve(BaseModel):
    """One column of metrics.csv, at the steps for which it has values."""

    step: list[float]
    value: list[float | None]


class Conclusion(BaseModel):
    """What the scores of one task and split say about the model compared with its baselines."""

    task: str
    split: str
    words: list[str] = Field(description="Sentences; only intervals decide.")


class Run(BaseModel):
    """The training of the model; empty as far as its run directory is missing."""

    curves: dict[str, Curve]
    scores: list[dict[str, Any]] = Field(description="Rows of the last evaluation (scores.json).")
    conclusions: list[Conclusion]
    verdicts: list[str]
    settings: dict[str, Any]


class ErrorBody(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(BaseModel):
    """The body of every answer with a status of 400 or more."""

    error: ErrorBody
