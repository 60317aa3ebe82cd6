"""Settings of the data, shared by encoders and the corpora of GPTs, and the base class of all setting sections."""

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
    """Compile an expression with `regex`, which is used because, unlike `re`, it has a timeout."""
    import regex

    try:
        compiled = regex.compile(pattern)
        empty = any(not match[0] for probe in _PROBES for match in compiled.finditer(probe, timeout=1))
    except (regex.error, TimeoutError) as error:
        raise ValueError(f"{pattern!r} is not a regular expression ({error})") from error
    if empty:
        raise ValueError(
            f"{pattern!r} matches the empty string; write a pattern that needs a character, for example with + "
            "instead of *"
        )
    return compiled


def _check_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        _compiled(pattern)
    return patterns


def _check_session(pattern: str | None) -> str | None:
    if pattern is not None and (groups := _compiled(pattern).groups) != 1:
        raise ValueError(
            f"{pattern!r} has {groups} groups, and needs exactly one, which names the session: '(blk_-?\\d+)'; others "
            "are written (?:...)"
        )
    return pattern


def without_region(code: Any) -> Any:
    """The language of a code: `de` for `de-AT`, `zh` for `zh_CN`, `en` for `EN`. Other types are returned unchanged."""
    return code.replace("_", "-").split("-")[0].lower() if isinstance(code, str) else code


LanguageCode = Annotated[Language, BeforeValidator(without_region)]
"""A language code. A region and capitals are accepted and ignored: all regions share one set of rules."""


Address = Annotated[str, AfterValidator(refuse_secret)]
"""A path, a name, or an address without secrets."""


class Section(BaseModel):
    """A strict group of settings: unknown keys and wrong types are errors, and every field is documented."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # the input may be an address with a password
    )


class DataSettings(Section):
    """From documents to batches."""

    train_file: Address = "sample-10BT"
    """Source of the documents: `stories` (built in), a local file (.parquet (extra `hub`), .jsonl, .json, .csv, .tsv,
    .txt, .md, .mdx, .rst, .html, .srt, .vtt; .pdf and .docx with the extra `documents`; most also .gz or .zst), a
    folder of such files, a FineWeb-Edu slice (`sample-10BT`), or a Hugging Face dataset as
    `owner/name[:config][@split]` (extra `hub`). A file or folder may be an address (s3:// with the extra `s3`, gs://
    with `gcs`, hf://datasets/OWNER/NAME/PATH; https:// for a single file), and names may be a pattern
    (`texts/**/*.jsonl`)."""
    text_column: str = "text"
    """Column with a document's text (with data.units=turns: its list of messages) in parquet, JSON, CSV, TSV and hub
    sources."""
    group_column: str | None = None
    """Column of a table (parquet, JSON, CSV, hub), such as `conversation_id`, whose value is the same in all rows of a
    document, one message or line per row. Rows keep their order and need not be adjacent (null: one document a row)."""
    speaker_column: str | None = None
    """With `data.group_column` and data.units=turns: column that names the speaker of a message (null: the first of
    `role`, `from`, `speaker`, `author`, `sender` that a row has)."""
    join_rows: int | None = Field(default=None, ge=2)
    """Maximum rows in a document, for sources whose rows are lines or paragraphs. Rows are joined by line breaks, empty
    ones become blank lines, and a title row (` = Like This = `) begins the next document (null: one document a row)."""
    include: tuple[str, ...] = Field(default=(), strict=False)
    """Files of a folder to read, as patterns relative to it: `["guide/**/*.md"]` (empty: all files of a known kind). A
    pattern that matches nothing is an error."""
    exclude: tuple[str, ...] = Field(default=(), strict=False)
    """Files of a folder to leave out, as patterns relative to it: `["**/CHANGELOG.md", "drafts"]`."""
    corpus_dir: Address = "corpora"
    """Folder for prepared corpora, with one subfolder per fingerprint. It may be an address (s3://, gs://), which is
    cached on this machine below LANG_JEPA_CACHE (~/.cache/lang-jepa)."""
    tokenizer_path: str = "roberta-base"
    """Hugging Face tokenizer by name or folder, or `trained` (byte-level BPE learnt on the corpus). With
    `model.pretrained`, the weights come from here too."""
    vocab_size: int = Field(default=8192, ge=300, le=1_000_000)
    """Vocabulary size of a `trained` tokenizer."""
    limit: int | None = Field(default=10_000, ge=1)
    """Maximum number of documents to read (null: all)."""
    min_length: int = Field(default=100, ge=0)
    """Reject documents with fewer characters. A Chinese, Japanese or Korean character counts as three; a Thai, Lao,
    Khmer, Burmese or Tibetan one as two."""
    min_sentences: int = Field(default=2, ge=1)
    """Reject documents with fewer sentences."""
    units: Literal["sentences", "lines", "turns"] = "sentences"
    """Units that documents consist of and that are predicted: the sentences of a text; its lines (`lines`: logs, or one
    verse or entry a line); or the turns of a conversation (`turns`: a list of messages in `data.text_column`, or a text
    with "Anna: ..." at the start of each turn). Lines and turns are never split into sentences."""
    speakers: Literal["none", "prefix", "embedding"] = "none"
    """How the model learns who speaks: not at all; `prefix` puts the name before the text of each turn ("user: "), in
    training and wherever text is split; `embedding` gives the predictor an embedding of the speaker's role beside each
    turn's vector, and of the role whose turn is predicted (needs `model.predictor=turn_transformer`)."""
    records: bool = False
    """With `data.units=lines`: join lines that continue a log record (stack traces, indented lines, lines without a
    time where records begin with one) to that record, as one unit."""
    session: Annotated[str | None, AfterValidator(_check_session)] = None
    """With `data.units=lines`: a regular expression with one group, such as `(blk_-?\\d+)` or `\\[(\\d+)\\]`. Lines of
    a file with the same value of the group form one document; lines without a match form another."""
    mask: bool = False
    """With `data.units=lines`: replace times, addresses, paths, hexadecimal and other numbers with one word each
    (`<time>`, `<number>` ...), in training and wherever text is read (see docs/corpus.md)."""
    mask_patterns: Annotated[tuple[str, ...], AfterValidator(_check_patterns)] = Field(default=(), strict=False)
    """Additional regular expressions for `data.mask`, applied first; a match becomes `<own>`."""
    max_sentence_chars: int = Field(default=1000, ge=20)
    """Maximum characters of a sentence; longer ones are split at their best boundary, with the pieces kept in order."""
    language: LanguageCode = "en"
    """Language of the texts; its abbreviations and dates decide where sentences end (see docs/corpus.md)."""
    splitter: Literal["rules", "sat"] = "rules"
    """Sentence splitter: offline rules, or wtpsplit's SaT model (extra `sat`)."""
    splitter_device: str = "cpu"
    """Device of the `sat` splitter."""
    deduplicate: Literal["none", "exact", "near"] = "near"
    """Drop repeated documents before the split: those with the same text, or (`near`) most sentences seen before."""
    near_duplicate_share: float = Field(default=0.5, gt=0.0, le=1.0)
    """A document is a near-duplicate if this share of its sentences occurred in earlier documents. Sentences of four or
    more documents are boilerplate and do not count, unless a single document has .8 of all its sentences."""
    val_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of documents held out for validation, chosen by a hash of the text."""
    val_split: Literal["hash", "tail"] = "hash"
    """How the held-out share is chosen: `hash`, documents by a hash of their text; `tail` (lines only), the last lines
    of each file, so that validation is later than training. Rotated files (app.log.1, app.log) count as one."""
    prepare_workers: int | None = Field(default=None, ge=1)
    """Processes that prepare the corpus (null: one per core)."""
    streaming: bool = False
    """Read documents as an endless stream instead of preparing a corpus; needs optimization.max_steps."""
    shuffle_buffer: int = Field(default=10_000, ge=1)
    """Maximum documents in a block of a stream; documents are shuffled within a block."""
    view: Annotated[str, VIEW] = "next_sentence"
    """What is predicted from what: the sentence after a context; hidden sentences of a passage; every sentence of a
    passage from the vectors of its neighbours before it, after it, and on both sides; the second part of a chunk of
    tokens from the first; or a sentence from itself (with a crop, or by dropout alone)."""
    context: Literal["window", "causal", "concepts"] = "window"
    """How the context of `next_sentence` is computed: `window` (bidirectional over up to window_size sentences),
    `causal` (one pass over a passage, with a target at every boundary) or `concepts` (each sentence alone, then a
    causal transformer)."""
    window_size: int = Field(default=8, ge=1)
    """Maximum sentences of context (`masked_concepts`: on each side). In `causal` each layer reads this many sentences
    back, so with n layers (n + 1) (window_size - 1) + 1 sentences reach a prediction in training; inference shows
    window_size."""
    passage_size: int = Field(default=16, ge=2)
    """Maximum sentences in a passage (`causal`, `concepts`, `masked_sentences` and `masked_concepts`)."""
    horizons: int = Field(default=1, ge=1)
    """How many sentences ahead training predicts (`next_sentence`): targets +1 to +horizons from one context pass.
    Validation, retrieval and inference use the next sentence."""
    masked_sentences: int = Field(default=2, ge=1)
    """Sentences hidden in each passage (`masked_sentences`), never all of them; each becomes one mask token."""
    target_context: Literal["alone", "in_context"] = "alone"
    """Target of a hidden sentence (`masked_sentences`): its embedding when encoded alone, or the mean over its tokens
    in the target encoder's pass over the whole passage."""
    chunk_size: int = Field(default=256, ge=2)
    """Tokens in a chunk of a document, cut in two at a random position (`spans`); special tokens are not counted."""
    span_min_length: int = Field(default=16, ge=1)
    """Minimum tokens of the shorter part (`spans`). A remainder of a document below twice this is left out."""
    crop: float | None = Field(default=None, gt=0, lt=1)
    """Share of a sentence's tokens that each side sees, as a run at a random position (`same_sentence`; null: all
    tokens, so the sides differ by dropout alone)."""
    batch_size: int = Field(default=32, ge=1)
    """Examples in a batch, per rank: context-target pairs (`window`), passages (`causal`, `concepts`,
    `masked_sentences`, `masked_concepts`), chunks (`spans`) or sentences (`same_sentence`)."""
    batch_tokens: int | None = Field(default=None, ge=16)
    """If set, batches are filled up to this many tokens instead of a fixed number of examples."""
    pool_batches: int = Field(default=64, ge=1)
    """Batches per length-sorted pool: larger pools pad less, smaller ones shuffle more finely."""
    num_workers: int = Field(default=4, ge=0)
    """Loader processes per rank (0: in the training process)."""

    @property
    def unit(self) -> str:
        """The name of one unit, in the singular."""
        return self.units.removesuffix("s")
