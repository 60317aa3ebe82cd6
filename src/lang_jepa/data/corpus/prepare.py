"""Prepare a corpus: documents are read once, processed on all cores, and stored as flat arrays on disk.

The work folder is named after the fingerprint and holds one finished file per block, so a killed preparation can be
resumed and is never mixed with another or taken for a finished one: a corpus appears under its name by one rename.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lang_jepa.data.corpus.blocks import training_texts
from lang_jepa.data.corpus.corpus import DUPLICATES, FORMAT, MANIFEST, SIDES, Corpus, checksums
from lang_jepa.data.corpus.identity import parts_of_identity, read_by, short_name, stale_reason
from lang_jepa.data.corpus.shard_tasks import Assembled, WriteShards, assemble
from lang_jepa.data.corpus.shards import SHARD_TOKENS
from lang_jepa.data.corpus.statistics import Losses, language_hint, why_nothing_held_out
from lang_jepa.data.corpus.store import CorpusStore, local_folder
from lang_jepa.data.corpus.tasks import (
    Executor,
    OneCall,
    ReadParts,
    Submitted,
    check_parts,
    gathered,
    planned_parts,
    run_tasks,
    submit,
)
from lang_jepa.data.corpus.workers import BlockSize, Processing, Tally
from lang_jepa.data.sources.base import require_documents, some_documents
from lang_jepa.data.sources.source import open_source
from lang_jepa.data.text.tokenizer import TRAINED_SPECIALS, TextTokenizer, train_tokenizer
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import (
    atomic_folder,
    check_only,
    fingerprint,
    locked,
    make_folder,
    read_json,
    remove_temporaries,
    write_json,
    writing,
)
from lang_jepa.settings.data import DataSettings

_OURS = (MANIFEST, DUPLICATES, "tokenizer", "concepts", "train-*.npy", "validation-*.npy", ".*.tmp")
"""What the folder of a corpus contains."""
OVERLAP_WARNING = 0.05
"""Share of held-out sentences seen in training above which a warning is issued."""


@dataclass(frozen=True, slots=True)
class PrepareEvent:
    """Something worth reporting while a corpus is prepared.

    Attributes:
        stage: what is happening; `warning` and `stale` deserve attention.
        message: one sentence for people.
        documents, characters: read so far, in total.
    """

    stage: Literal["reused", "stale", "resumed", "tokenizer", "block", "assemble", "warning", "done", "lost"]
    message: str
    documents: int = 0
    characters: int = 0


Progress = Callable[[PrepareEvent], None]


def report_losses(losses: Losses, on_event: Progress) -> None:
    """Report losses if there are any, as a warning if they are large."""
    if line := losses.line():
        on_event(PrepareEvent("warning" if losses.loud else "lost", line))


def prepare(
    settings: DataSettings,
    *,
    progress: Progress | None = None,
    block_size: BlockSize = BlockSize(),  # noqa: B008  (frozen)
    shard_tokens: int = SHARD_TOKENS,
    executor: Executor | None = None,
) -> Corpus:
    """Return the corpus that the settings describe, reused if it exists and is intact, otherwise prepared.

    Several processes may call this at once: one prepares, the others wait and reuse. An existing corpus is only read,
    so it may be in a read-only folder.

    Args:
        settings: where documents come from and how they are processed.
        progress: called with events; nothing is ever reused or rebuilt without one.
        block_size: unit of work; it does not affect the result.
        shard_tokens: size of a shard.
        executor: runs the block stage as tasks that each read their own share of the source, and then the tasks that
            write shards; the corpus is the same byte for byte (None: this process reads, decides and writes, and
            local worker processes do the rest).

    Raises:
        LangJepaError: the source or the tokenizer is unusable, no documents are left, a worker process died, tasks
            failed, or a store cannot be read or written.
        Submitted: Slurm jobs have been submitted, and the last of them will finish the corpus.
    """
    if executor is not None:
        executor.check()
        executor.check_work_folder(settings.corpus_dir)
    on_event = progress or (lambda event: None)
    job = _Job(settings, on_event, block_size, shard_tokens, executor)
    ready = job.find_ready()
    if ready is not None:
        job.remove_rest()
    else:
        with locked(job.lock):
            ready = job.find_ready(again=True) or job.fetch() or job.run()
    job.publish()
    return ready


class _Job:
    """One preparation: its inputs and its target.

    Attributes:
        made_from: everything that determines the corpus, as JSON.
        target: folder of the corpus.
        partial: the work folder.
        lock: held by the process that prepares.
    """

    def __init__(
        self,
        settings: DataSettings,
        on_event: Progress,
        block_size: BlockSize,
        shard_tokens: int,
        executor: Executor | None,
    ) -> None:
        """Open the source and the tokenizer and compute the fingerprint."""
        self.settings, self.on_event, self.executor = settings, on_event, executor
        self.block_size, self.shard_tokens = block_size, shard_tokens
        self.source = open_source(settings)
        self.tokenizer = None if settings.tokenizer_path == "trained" else TextTokenizer.load(settings.tokenizer_path)
        self.made_from = parts_of_identity(settings, self.source, self.tokenizer)
        self.store = CorpusStore.of(settings.corpus_dir)
        name = f"{short_name(settings.train_file)}-{fingerprint(self.made_from)}"
        self.target = local_folder(settings.corpus_dir) / name
        self.partial = self.target.with_name(f"{name}.partial")
        self.lock = self.target.with_name(f".{name}.lock")

    def find_ready(self, *, again: bool = False) -> Corpus | None:
        """The finished corpus if it exists and is intact. Reports that, or (unless `again`) why there is none."""
        if self.target.exists():
            try:
                corpus = Corpus.open(self.target)
            except LangJepaError as error:
                if not again:
                    self.on_event(PrepareEvent("stale", f"not usable, preparing again: {error}"))
                return None
            self.on_event(PrepareEvent("reused", f"the corpus at {self.target} is up to date"))
            for text in corpus.manifest.get("warnings", ()):
                self.on_event(PrepareEvent("warning", text))
            return corpus
        if not again:
            for file in sorted(self.target.parent.glob(f"*/{MANIFEST}")):
                self._report_if_stale(file)
        return None

    def fetch(self) -> Corpus | None:
        """The corpus copied from the store to this machine, or None if the store does not have it."""
        if self.store is None or not self.store.fetch(self.target.name, again=True):
            return None
        message = f"the corpus at {self.store.address(self.target.name)} was copied to {self.target}"
        self.on_event(PrepareEvent("reused", message))
        return Corpus.open(self.target, verify=False)

    def publish(self) -> None:
        """Upload the corpus if it belongs in a store and is not there yet."""
        if self.store is None or self.store.has(self.target.name):
            return
        with locked(self.lock):
            if not self.store.has(self.target.name):
                self.store.publish(self.target.name)
                self.on_event(PrepareEvent("done", f"uploaded to {self.store.address(self.target.name)}"))

    def remove_rest(self) -> None:
        """Try to remove the work folder left by a process that was killed after it had finished the corpus."""
        if self.partial.exists():
            with suppress(OSError, LangJepaError), locked(self.lock):
                shutil.rmtree(self.partial, ignore_errors=True)

    def _report_if_stale(self, file: Path) -> None:
        """Report if `file` is the manifest of a corpus of this source that is out of date or was read differently."""
        reason: str | None = None
        with suppress(LangJepaError, KeyError, TypeError):  # not ours to fix: whoever uses that corpus gets the error
            manifest = read_json(file, what="manifest of another corpus")
            reason = stale_reason(manifest, self.settings, self.made_from)
        if reason is not None:
            self.on_event(PrepareEvent("stale", f"{file.parent} {reason}"))

    def run(self) -> Corpus:
        began = time.monotonic()
        if self.target.exists():
            check_only(self.target, _OURS, what="a corpus")
        if self.executor is not None:
            check_parts(self.source, self.settings)
        if complaint := self.source.complaint():
            raise LangJepaError(complaint)
        if self.store is not None:
            self.store.check_writable()
        make_folder(self.partial)
        for folder in (self.partial, *(self.partial / name for name in ("blocks", "shards", "corpus"))):
            remove_temporaries(folder)
        warnings = self._warned(language_hint(self.settings, (row.text for row in some_documents(self.source))))
        tokenizer = self.tokenizer or self._trained_tokenizer()
        shards = WriteShards(
            self.settings, self.partial / "blocks", self.partial / "shards", tokenizer.vocab_size, self.shard_tokens
        )
        work, blocks, workers = self._blocks(tokenizer, shards)
        require_documents(work.documents, work.rejected, self.source)
        self.on_event(PrepareEvent("assemble", "finding duplicates, writing shards", work.documents, work.characters))
        shards.decide(blocks)
        if self.executor is None:
            shards(None, 0, 1)
        elif shards.unfinished():
            run_tasks(shards, self.executor)
        final = self.partial / "corpus"
        result = assemble(shards, final)
        self._check(result, work)
        warnings += self._warned(*self._held_out(result, work))
        with writing(final):
            tokenizer.save(final / "tokenizer")
        seconds = time.monotonic() - began
        speed = {"seconds": round(seconds, 1), "megabytes_per_second": round(work.bytes / 1e6 / seconds, 2)}
        timing = {**speed, "workers": workers, "blocks_reused": work.reused}
        about = {**self._manifest(tokenizer, result, work), "warnings": warnings, "timing": timing}
        write_json(final / MANIFEST, {**about, "checksums": checksums(final, about, result.sums)})
        self._publish(final)
        corpus = Corpus.open(self.target, verify=False)
        corpus.reused = False
        message = f"prepared {self.target} in {seconds:.1f} s"
        self.on_event(PrepareEvent("done", message, work.documents, work.characters))
        return corpus

    def _blocks(self, tokenizer: TextTokenizer, shards: WriteShards) -> tuple[Tally, list[Path], int]:
        """Make the blocks; returns what went into them, their files in order, and the number of processes or tasks.

        Raises:
            Submitted: Slurm jobs will make them.
        """
        folder = self.partial / "blocks"
        if self.executor is None:
            work = Processing(self.settings, tokenizer, folder, self.block_size)
            return work, work.run(self.source, self._report_block), work.workers
        parts = planned_parts(self.source, folder)
        step = ReadParts(self.settings, tokenizer, self.source, parts, folder, self.block_size)
        left = len(step.unfinished())
        if left < len(parts):
            self.on_event(PrepareEvent("resumed", f"{len(parts) - left} of {len(parts)} parts were finished earlier"))
        if left:
            self.on_event(PrepareEvent("block", f"{left} parts in {min(self.executor.tasks, len(parts))} tasks"))
        if self.executor.kind == "slurm":
            decide = OneCall("duplicates", "decide", partial(_decide, step, shards))
            here = replace(self.executor, kind="local", slurm={})
            again = partial(prepare, self.settings, executor=here, shard_tokens=self.shard_tokens)
            submit(step, decide, shards, OneCall("manifest", "finish", again), self.executor)
            raise Submitted(self.target, self.partial)
        if left:
            run_tasks(step, self.executor)
        tally, blocks = gathered(folder, len(parts))
        if self.settings.limit is not None and tally.rejected:
            raise LangJepaError(
                "--executor: data.limit counts documents, but some of the stories were rejected (data.min_length): set "
                "data.min_length=1, or leave --executor out"
            )
        return tally, blocks, self.executor.tasks

    def _trained_tokenizer(self) -> TextTokenizer:
        """The tokenizer trained on the training documents, kept in the work folder for a resumed run."""
        folder = self.partial / "tokenizer"
        if not folder.is_dir():
            self.on_event(PrepareEvent("tokenizer", f"learning a tokenizer of {self.settings.vocab_size} ids"))
            texts = training_texts(some_documents(self.source), self.settings)
            learnt = train_tokenizer(texts, self.settings.vocab_size)
            with atomic_folder(folder) as temporary:
                learnt.save(temporary)
        return TextTokenizer.from_files(folder, TRAINED_SPECIALS)

    def _report_block(self, work: Processing) -> None:
        """Report progress of the block stage."""
        if work.reused and work.reused == work.done:
            message = f"{work.reused} blocks were finished earlier"
            self.on_event(PrepareEvent("resumed", message, work.documents, work.characters))
        else:
            self.on_event(PrepareEvent("block", f"{work.done} blocks done", work.documents, work.characters))

    def _warned(self, *texts: str | None) -> list[str]:
        """Report the texts that are not empty as warnings, and return them."""
        found = [text for text in texts if text]
        for text in found:
            self.on_event(PrepareEvent("warning", text))
        return found

    def _check(self, result: Assembled, work: Tally) -> None:
        """Raise if there are no documents to train on."""
        train, validation = (result.statistics[side]["documents"] for side in SIDES)
        if not train:
            reasons = work.rejected + result.rejected + result.duplicates
            counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items())) or "none rejected"
            if work.documents == 1 and validation:
                raise LangJepaError(
                    f"nothing is left to train on: {why_nothing_held_out(1.0, 1, self.source.description)} Or set "
                    "data.val_fraction=0."
                )
            raise LangJepaError(
                f"no documents are left for training of {work.documents} in {self.source.description} ({counts}; "
                f"{validation} held out). Check data.min_sentences, data.val_fraction and data.deduplicate."
            )

    def _held_out(self, result: Assembled, work: Tally) -> Iterator[str]:
        """Yield reasons why the held-out data says little, if there are any."""
        train, validation = (result.statistics[side]["documents"] for side in SIDES)
        if self.settings.val_fraction and not validation:
            description = self.source.description
            tail = 0 if self.settings.val_split == "tail" else None
            why = why_nothing_held_out(self.settings.val_fraction, train, description, read=work.documents, tail=tail)
            yield f"nothing is held out: {why}"
        share = result.statistics["overlap"]["all_sentences"]
        if share is not None and share > OVERLAP_WARNING and self.settings.val_split == "hash":
            shared = f"{share:.1%} of the held-out {self.settings.units}"
            yield f"{shared} occur in training: held-out scores will look too good"

    def _manifest(self, tokenizer: TextTokenizer, result: Assembled, work: Tally) -> dict[str, Any]:
        """The part of the manifest that does not depend on the machine's speed."""
        return {
            "format": FORMAT,
            "fingerprint": fingerprint(self.made_from),
            "made_from": self.made_from,
            "source": {"name": self.settings.train_file, "description": self.source.description}
            | {"read_by": read_by(self.settings)},
            "tokenizer": {
                "name": self.settings.tokenizer_path,
                "fingerprint": tokenizer.fingerprint(),
                "vocab_size": tokenizer.vocab_size,
                "specials": tokenizer.specials,
            },
            "shards": result.shards,
            "statistics": {
                "documents_read": work.documents + sum(work.rejected.values()),
                "rejected": dict(sorted((work.rejected + result.rejected).items())),
                "duplicates": dict(sorted(result.duplicates.items())),
                "left_out": dict(sorted(work.left_out.items())),
                **result.statistics,
            },
        }

    def _publish(self, final: Path) -> None:
        """Give the finished folder its name, after moving a damaged folder of that name out of the way.

        The shard records are moved first: without their files, already moved, they would pass for finished work.
        """
        old, records = self.partial / "replaced", self.partial / "published"
        shutil.rmtree(records, ignore_errors=True)
        (self.partial / "shards").replace(records)
        if self.target.exists():
            self.target.replace(old)
        final.replace(self.target)
        shutil.rmtree(self.partial)


def _decide(step: ReadParts, shards: WriteShards) -> None:
    """Decide about the documents of all blocks, once these are done."""
    shards.decide(step.blocks())
