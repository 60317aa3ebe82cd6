"""Settings of the data, which encoders and the corpora of GPTs share; and what a group of settings is."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from lang_jepa.settings.addresses import refuse_secret
from lang_jepa.settings.parts import VIEW

# fmt: off
Language = Literal[
    "am", "ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "fi", "fr", "gl", "gu", "hi", "hy", "it", "ja",
    "kk", "kn", "ml", "mr", "my", "nl", "pa", "pl", "pt", "ru", "sk", "ta", "te", "uk", "ur", "zh",
]
# fmt: on


_PROBES = ("", "a 1-")


def _compiled(pattern: str) -> Any:
    """The expression as it will be used (with a bound on its time, which `re` does not have)."""
    import regex

    try:
        compiled = regex.compile(pattern)
        empty = any(not match[0] for probe in _PROBES for match in compiled.finditer(probe, timeout=1))
    except (regex.error, TimeoutError) as error:
        raise ValueError(f"{pattern!r} is no regular expression ({error})") from error
    if empty:
        raise ValueError(f"{pattern!r} matches where nothing stands; write one that needs a character, + for * say")
    return compiled


def _check_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        _compiled(pattern)
    return patterns


def _check_session(pattern: str | None) -> str | None:
    if pattern is not None and (groups := _compiled(pattern).groups) != 1:
        raise ValueError(
            f"{pattern!r} has {groups} groups, and needs one, which names the session: '(blk_-?\\d+)'; others are "
            "written (?:...)"
        )
    return pattern


def without_region(code: Any) -> Any:
    """The language of a code: `de` for `de-AT`, `zh` for `zh_CN`, `en` for `EN`. What is no text stays as it is."""
    return code.replace("_", "-").split("-")[0].lower() if isinstance(code, str) else code


LanguageCode = Annotated[Language, BeforeValidator(without_region)]
"""A language, which may be written with its region and in capitals: the rules of all its regions are the same."""


Place = Annotated[str, AfterValidator(refuse_secret)]
"""A path, a name, or an address without secrets."""


class Section(BaseModel):
    """A strict group of settings: unknown keys and wrong types are errors, fields are documented."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # which may be an address with a password
    )


class DataSettings(Section):
    """From documents to batches."""

    train_file: Place = "sample-10BT"
    """Where documents come from: `stories` (built in), a local file (.parquet, .jsonl, .json, .csv, .tsv, .txt, .md,
    .mdx, .rst, .html, .srt, .vtt; .pdf and .docx by the extra `documents`; most also .gz or .zst), a folder of them, a
    FineWeb-Edu slice (`sample-10BT`), or a hub data set as `owner/name[:config][@split]`. A file or folder may be an
    address (s3:// by the extra `s3`, gs:// by `gcs`, hf://datasets/OWNER/NAME/PATH; https:// one file), and names a
    pattern (`texts/**/*.jsonl`)."""
    text_column: str = "text"
    """Column that holds a document's text (with data.units=turns its list of messages) in parquet, JSON, CSV, TSV and
    hub sources."""
    group_column: str | None = None
    """Column of tables (parquet, JSON, CSV, hub) whose value rows of one document share, a message or line each, such
    as `conversation_id`; they follow each other in their order and may stand apart (null: each row is a document)."""
    speaker_column: str | None = None
    """With `data.group_column` and data.units=turns: column of who says a message (null: the first of `role`, `from`,
    `speaker`, `author`, `sender` that a row has)."""
    join_rows: int | None = Field(default=None, ge=2)
    """Rows that make one document at most, for sources whose rows are lines or paragraphs: joined by line breaks, empty
    ones as blank lines; a row that is a title, ` = Like This = `, begins the next document (null: each row is one)."""
    include: tuple[str, ...] = Field(default=(), strict=False)
    """Files of a folder that are read, as patterns relative to it: `["guide/**/*.md"]` (empty: all of a known kind). A
    pattern that matches nothing is an error."""
    exclude: tuple[str, ...] = Field(default=(), strict=False)
    """Files of a folder that are left out, as patterns relative to it: `["**/CHANGELOG.md", "drafts"]`."""
    corpus_dir: Place = "corpora"
    """Folder in which prepared corpora are kept, one subfolder per fingerprint, or an address of one (s3://, gs://), of
    which this machine keeps copies below LANG_JEPA_CACHE (~/.cache/lang-jepa)."""
    tokenizer_path: str = "roberta-base"
    """Hugging Face tokenizer by name or folder, or `trained` (byte-level BPE learnt on the corpus). Also where
    the weights are, if `model.pretrained`."""
    vocab_size: int = Field(default=8192, ge=300, le=1_000_000)
    """Vocabulary size of a `trained` tokenizer."""
    limit: int | None = Field(default=10_000, ge=1)
    """Take at most so many documents (null: all)."""
    min_length: int = Field(default=100, ge=0)
    """Reject documents with fewer characters. One of Chinese, Japanese or Korean counts as three, one of Thai, Lao,
    Khmer, Burmese or Tibetan as two."""
    min_sentences: int = Field(default=2, ge=1)
    """Reject documents with fewer sentences."""
    units: Literal["sentences", "lines", "turns"] = "sentences"
    """What documents are made of, and what is predicted: the sentences of a text; its lines as they are (`lines`: logs,
    one verse or entry a line); the turns of a conversation (`turns`: a list of messages in `data.text_column`, or a
    text with "Anna: ..." at the beginning of turns). Lines and turns are never cut into sentences."""
    speakers: Literal["none", "prefix", "embedding"] = "none"
    """What a model knows of who says a turn: nothing; its text begins with the name ("user: "), in training and
    wherever text is split; or the predictor gets an embedding of the speaker's role beside the turn's vector, and of
    the role whose turn is predicted (needs `model.predictor=turn_transformer`)."""
    records: bool = False
    """With `data.units=lines`: lines that continue a record of a log (stack traces, indented lines, lines without a
    time where records begin with one) are one unit with it."""
    session: Annotated[str | None, AfterValidator(_check_session)] = None
    """With `data.units=lines`: a regular expression with one group, such as `(blk_-?\\d+)` or `\\[(\\d+)\\]`; lines of
    a file in which the group has the same value are a document of their own, and so are those without a match."""
    mask: bool = False
    """With `data.units=lines`: write times, addresses, paths, hexadecimal and other numbers as one word each (`<time>`,
    `<number>` ...), in training and wherever text is read (see docs/corpus.md)."""
    mask_patterns: Annotated[tuple[str, ...], AfterValidator(_check_patterns)] = Field(default=(), strict=False)
    """Regular expressions of your own for `data.mask`, applied first; what matches becomes `<own>`."""
    max_sentence_chars: int = Field(default=1000, ge=20)
    """Split longer sentences at their best boundary, in characters; the pieces are kept in order."""
    language: LanguageCode = "en"
    """Language of the texts, whose abbreviations and dates decide where sentences end (see docs/corpus.md)."""
    splitter: Literal["rules", "sat"] = "rules"
    """Sentence splitter: offline rules, or wtpsplit's SaT model (extra `sat`)."""
    splitter_device: str = "cpu"
    """Device of the `sat` splitter."""
    deduplicate: Literal["none", "exact", "near"] = "near"
    """Drop repeated documents before the split: same text, or most sentences seen before."""
    near_duplicate_share: float = Field(default=0.5, gt=0.0, le=1.0)
    """A document is a near-duplicate when this share of its sentences occurred in earlier documents; sentences of four
    or more documents are boilerplate and do not count, unless one document has .8 of all its sentences."""
    val_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of documents held out for validation, chosen by a hash of the text."""
    val_split: Literal["hash", "tail"] = "hash"
    """Which share is held out: documents by a hash of their text; or, of lines, the last lines of each file (`tail`;
    rotated files such as app.log.1 and app.log count as one), so that what is predicted lies after what was learnt."""
    prepare_workers: int | None = Field(default=None, ge=1)
    """Processes that prepare the corpus (null: one per core)."""
    streaming: bool = False
    """Read documents as an endless stream instead of preparing them first; needs optimization.max_steps."""
    shuffle_buffer: int = Field(default=10_000, ge=1)
    """Documents in one block of a stream, at most; documents are shuffled inside a block."""
    view: Annotated[str, VIEW] = "next_sentence"
    """What is predicted from what: the sentence after a context; hidden sentences of a passage; every sentence of a
    passage from the vectors of its neighbours before it, after it, and on both sides; the second part of a chunk of
    tokens from its first; a sentence from itself (with a crop, or by dropout alone)."""
    context: Literal["window", "causal", "concepts"] = "window"
    """How the context of `next_sentence` is computed: `window` (bidirectional over up to window_size sentences),
    `causal` (one pass over a passage, every boundary a target) or `concepts` (each sentence alone, then a causal
    transformer)."""
    window_size: int = Field(default=8, ge=1)
    """Sentences of context at most (`masked_concepts`: on each side). In `causal` each layer reads so many sentences
    back, so that with n layers a prediction is reached by (n + 1) (window_size - 1) + 1 sentences in training;
    inference shows window_size."""
    passage_size: int = Field(default=16, ge=2)
    """Sentences in one passage at most (`causal`, `concepts`, `masked_sentences` and `masked_concepts`)."""
    horizons: int = Field(default=1, ge=1)
    """Sentences ahead that training predicts (`next_sentence`): targets +1 to +horizons from one context pass.
    Validation, retrieval and inference ask for the next one."""
    masked_sentences: int = Field(default=2, ge=1)
    """Sentences hidden in each passage (`masked_sentences`), never all of them; each becomes one mask token."""
    target_context: Literal["alone", "in_context"] = "alone"
    """What a hidden sentence's target is (`masked_sentences`): its embedding when encoded alone, or the mean over its
    tokens in the target encoder's pass over the whole passage."""
    chunk_size: int = Field(default=256, ge=2)
    """Tokens of a document that are cut in two at a random place (`spans`), special tokens left out."""
    span_min_length: int = Field(default=16, ge=1)
    """Tokens of the shorter part at least (`spans`). A document's rest below twice as much is left out."""
    crop: float | None = Field(default=None, gt=0, lt=1)
    """Share of a sentence's tokens that each side sees, a run at a random place (`same_sentence`; null: all of them,
    so that the sides differ by dropout alone)."""
    batch_size: int = Field(default=32, ge=1)
    """Examples in a batch on each rank: context-target pairs (`window`), passages (`causal`, `concepts`,
    `masked_sentences`, `masked_concepts`), chunks (`spans`) or sentences (`same_sentence`)."""
    batch_tokens: int | None = Field(default=None, ge=16)
    """If set, batches are filled up to this many tokens instead of counting examples."""
    pool_batches: int = Field(default=64, ge=1)
    """Batches in one length-sorted pool: larger pads less, smaller shuffles more finely."""
    num_workers: int = Field(default=4, ge=0)
    """Loader processes per rank (0: in the training process)."""

    @property
    def unit(self) -> str:
        """What one of the units is called."""
        return self.units.removesuffix("s")
