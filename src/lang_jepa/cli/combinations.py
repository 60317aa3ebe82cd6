"""Which options of a verb have an effect together; an option without effect is an error, before any work is done.

`COMBINATIONS` names every option and argument of every verb, so a new one cannot be forgotten. A condition is the name
of an option that was given (`context`), an option with its value (`to=int6`), or a property of the arguments (`a GPT`),
which the verb's function in `_CONDITIONS` finds out.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from lang_jepa.errors import LangJepaError

_Context: Any = TyperCommand.context_class
_Mistake: type[Exception] = typer.BadParameter.__mro__[1]
"""What is raised for any usage error; typer has no public name for it."""
_WIDEST = 100
"""Characters in a line of help, at most."""


class _Formatter(_Context.formatter_class):  # type: ignore[misc]
    """Wraps lines at the width of the terminal; names are never cut, and long ones have a line of their own."""

    def __init__(self, *options: Any, **more: Any) -> None:
        super().__init__(*options, **more)
        self.width = max(24, min(_WIDEST, shutil.get_terminal_size().columns))

    def write_dl(self, rows: Any, col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl(rows, min(col_max, self.width // 3), col_spacing)


class _Helping(_Context):  # type: ignore[misc]
    formatter_class = _Formatter


def _folded(command: str, width: int) -> list[str]:
    """Fold a command into lines of `width` characters that end in a backslash; quoted words stay whole."""
    lines = [""]
    for word in re.findall(r"(?:'[^']*'|\"[^\"]*\"|\S)+", command):
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines.append("  ")
        lines[-1] += (" " if lines[-1].strip() else "") + word
    return [f"  {line}{'' if number == len(lines) else f' {chr(92)}'}" for number, line in enumerate(lines, start=1)]


class Verbs(TyperGroup):
    """The group of all verbs, shown under their headings; its usage errors are `LangJepaError`s too."""

    context_class = _Helping

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each heading, in the order of the verbs."""
        wide = max(map(len, self.commands))
        for heading, verbs in groupby(self.commands.values(), key=attrgetter("rich_help_panel")):
            with formatter.section(heading):
                formatter.write_dl([(f"{verb.name:<{wide}}", verb.get_short_help_str()) for verb in verbs])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Raise LangJepaError for an unknown verb."""
        with _explained("lang-jepa --help"):
            return super().resolve_command(ctx, args)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raise LangJepaError for an unknown option before the verb."""
        if not args:
            return super().parse_args(ctx, args)  # which shows the help
        with _explained("lang-jepa --help"):
            return super().parse_args(ctx, args)


@contextmanager
def _explained(help_: str) -> Iterator[None]:
    """Turn a usage error into a LangJepaError that names the command for help."""
    try:
        yield
    except _Mistake as error:
        said = str(error.format_message())  # type: ignore[attr-defined]
        raise LangJepaError(f"{said if said.endswith('?') else said.rstrip('.') + '.'} See {help_}") from error


@dataclass(frozen=True)
class When:
    """When an option has an effect.

    Attributes:
        needs: conditions, at least one of which must hold (empty: nothing is needed).
        bars: conditions, none of which may hold.
        cure: what to do instead, appended to the message.
    """

    needs: tuple[str, ...] = ()
    bars: tuple[str, ...] = ()
    cure: str = ""


ALWAYS = When()
_GPT, _DECODER = "a GPT", "the recipe of a decoder"
_GPT_RECIPE, _UNREAD, _CORPUS = "the recipe of a GPT", "a text without columns", "a prepared corpus"
_DOCUMENTS = "a folder of documents"
_ONE = "choose one"
_SAMPLE = When(needs=("sample",))
_ALONE = When(bars=("context", "candidate", "go_on"), cure=_ONE)
_FOLDER = When(needs=("to=sentence-transformers", "to=onnx"))
_BITS = When(needs=("to=int8", "to=int6"))
_DRAWS = When(bars=("temperature=0",), cure="0 always takes the likeliest token")
_FILES = When(needs=(_DOCUMENTS,))


def _each(names: str, when: When = ALWAYS) -> dict[str, When]:
    """Give several options and arguments one condition (whether tasks need --data-dir is checked with the tasks)."""
    return dict.fromkeys(names.split(), when)


COMBINATIONS: Mapping[str, Mapping[str, When]] = {
    "train": {
        **_each("recipe override debug resume start"),
        **_each("encoder dec_override untrained", When(needs=(_DECODER,))),
        "environment": When(needs=(_GPT_RECIPE,)),
    },
    "prepare": {
        **_each("recipe override executor"),
        "duplicates": When(bars=("executor=slurm",), cure="the corpus is not there yet when the jobs are submitted"),
        **_each("tasks workers", When(needs=("executor",))),
        "slurm": When(needs=("executor=slurm",)),
    },
    "evaluate": {
        **_each("run tasks corpus data_dir output as_json"),
        "everything": When(bars=("as_json",), cure="the JSON has all rows"),
        **_each("documents queries labels beside", When(bars=(_GPT,))),
        "language": When(needs=("queries",), cure="other tasks read documents that are split already"),
        **_each("text_column group_column speaker_column", When(needs=("documents",))),
    },
    "infer": {
        **_each("model context go_on as_json"),
        **_each("text corpus", _ALONE),
        "file": When(bars=("text", *_ALONE.bars), cure=_ONE),
        "top_k": When(needs=("corpus",)),
        "candidate": When(bars=("go_on",), cure=_ONE),
        "decode": When(bars=_ALONE.bars, cure="what is imagined is decoded anyway, a ranking is not decoded"),
        "decoder": When(bars=("candidate",), cure="a ranking is not decoded"),
        "sample": When(bars=_ALONE.bars, cure="only --text, --file and standard input are decoded by sampling"),
        **_each("temperature top_p sample_top_k seed", _SAMPLE),
        "beams": When(bars=("sample", "candidate"), cure=_ONE),
    },
    "monitor": _each("model source follow per_thousand usual state corpus as_json"),
    "rank": {
        **_each("model context role text_column group_column speaker_column top_k as_json"),
        "candidates": When(bars=("bank",), cure=_ONE),
        "bank": When(),
        "votes": When(needs=("bank",)),
    },
    "try": _each("path beside minutes kind output"),
    "quickstart": _each("override dec_override seed"),
    "compare": _each("variant budget output seeds override vary tasks data_dir quick jobs allow_different"),
    "sweep": _each("recipe output trials metric space override"),
    "index": {
        **_each("model corpus output lines float32 precision approximate"),
        **_each("context predictions", When(bars=("lines",), cure="each line is a document of its own")),
        "weight": When(bars=("context=none",)),
        "limit": When(bars=("lines",), cure="cut the file instead"),
        **_each("text_column group_column speaker_column", When(bars=("lines", _UNREAD))),
        "language": When(bars=("lines",), cure="each line is a sentence"),
        **_each("include exclude", _FILES),
    },
    "search": {
        **_each("folder query after top_k model exact paragraph as_json"),
        "by": When(needs=("after",)),
    },
    "export": {
        **_each("run folder to"),
        **_each("license push_to_hub", _FOLDER),
        "private": When(needs=("push_to_hub",)),
        "dry_run": When(needs=("push_to_hub",), cure="it lists what would be uploaded to --push-to-hub OWNER/MODEL"),
        **_each("gptq clip codec cap", _BITS),
    },
    "document": {
        **_each("model file language using against as_json"),
        **_each("candidate segments plot", When(bars=(_DOCUMENTS,), cure="give one document of it")),
        **_each("top_k output", _FILES),
        **_each("text_column group_column speaker_column", When(bars=(_UNREAD,))),
        "text": When(bars=("file",), cure="give a file or --text, not both"),
    },
    "duplicates": {
        **_each("source share top_k units group_column speaker_column language limit output as_json"),
        "text_column": When(bars=(_UNREAD,)),
        **_each("include exclude", _FILES),
    },
    "topics": {
        **_each("model source of method seed group_column speaker_column language limit output as_json"),
        "count": When(bars=("method=hdbscan",), cure="it finds the number itself"),
        "text_column": When(bars=(_UNREAD,)),
        **_each("include exclude", _FILES),
    },
    "generate": {
        **_each("run prompt tokens temperature as_json"),
        **_each("sample_top_k top_p seed samples", _DRAWS),
    },
    "shards": {
        **_each("source folder tokenizer val_fraction deduplicate limit min_length language units"),
        **_each("group_column speaker_column"),
        "vocab_size": When(bars=("tokenizer",), cure="its vocabulary is what it is"),
        "text_column": When(bars=(_UNREAD,)),
        **_each("include exclude", _FILES),
    },
    "bits": {
        **_each("folder model order quick as_json"),
        "stride": When(needs=("model",)),
        "tokenizer": When(bars=(_CORPUS,), cure="it has its own"),
    },
    "serve": _each(
        "model index precision host port api_key allow_remote max_body max_texts max_characters queue timeout"
    ),
    "recipes": _each("name as_json"),
}
"""For each verb, when each of its options and arguments has an effect."""


EARLIER_NAMES: Mapping[str, Mapping[str, str]] = {
    "rank": {"--top": "--top-k"},
    "generate": {"--top-k": "--sample-top-k"},
}
"""Former names of options, by verb; they are still accepted, but not shown."""


class Checked(TyperCommand):
    """A verb whose options are checked before it runs, and whose usage errors are `LangJepaError`s."""

    context_class = _Helping

    def get_short_help_str(self, limit: int = 0) -> str:
        """Return the first line of its help, uncut."""
        return (self.help or "").strip().partition("\n")[0]

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write commands to copy, one below the other; a long one continues on the next line, as a shell reads it."""
        formatter.write(f"\n{'Example' if chr(10) not in (self.epilog or '') else 'Examples'}:\n")
        for command in (self.epilog or "").splitlines():
            formatter.write("\n".join(_folded(command, formatter.width - 2)) + "\n")

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Raise LangJepaError for a usage error, such as an unknown option or a number out of range."""
        with _explained(f"lang-jepa {info_name} --help"):
            return super().make_context(info_name, args, parent, **extra)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept options under their former names; refuse one that is given twice if only the last would count."""
        earlier = EARLIER_NAMES.get(str(ctx.info_name), {})
        args = [_renamed(word, earlier) for word in args]
        if not ctx.resilient_parsing:
            _, _, order = self.make_parser(ctx).parse_args(args=list(args))
            given = [one for one in order if one.param_type_name == "option" and not one.multiple]
            for one in given:
                if given.count(one) > 1:
                    raise LangJepaError(f"{_flag(one)} is given twice, and the first would have no effect")
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    def invoke(self, ctx: Any) -> Any:
        """Refuse options that would have no effect, then run."""
        flags = {one.name: _flag(one) for one in self.params}
        given = {
            name
            for name, value in ctx.params.items()
            if ctx.get_parameter_source(name).name in {"COMMANDLINE", "ENVIRONMENT"}
            and value not in (None, False, [], ())
        }
        check_options(ctx.info_name, ctx.params, given, flags)
        return super().invoke(ctx)


def _renamed(word: str, earlier: Mapping[str, str]) -> str:
    name, equals, value = word.partition("=")
    return f"{earlier.get(name, name)}{equals}{value}"


def check_options(verb: str, values: Mapping[str, Any], given: set[str], flags: Mapping[str, str]) -> None:
    """Refuse the first option that has no effect.

    Args:
        verb: of the table.
        values: of all options and arguments, by name.
        given: names of those that were typed.
        flags: how each is typed.

    Raises:
        LangJepaError: names it, and what it has no effect with or without.
    """
    table = COMBINATIONS[verb]
    concerned = [(name, table[name]) for name in sorted(given) if table[name] != ALWAYS]
    if not concerned:
        return
    shown = {name: f"{value:g}" if isinstance(value, float) else value for name, value in values.items()}
    true = given | {f"{name}={value}" for name, value in shown.items()}
    if verb in _CONDITIONS:
        true |= _CONDITIONS[verb](values)
    for name, when in concerned:
        cure = f": {when.cure}" if when.cure else ""
        barred = [one for one in when.bars if one in true]
        if barred:
            raise LangJepaError(f"{flags[name]} has no effect with {_typed(barred[0], flags)}{cure}")
        if when.needs and true.isdisjoint(when.needs):
            without = " or ".join(_typed(one, flags) for one in when.needs)
            raise LangJepaError(f"{flags[name]} has no effect without {without}{cure}")


def _typed(condition: str, flags: Mapping[str, str]) -> str:
    """Return a condition as it is typed."""
    name, _, value = condition.partition("=")
    return f"{flags.get(name, name)} {value}".strip()


def _flag(parameter: Any) -> str:
    """How an option is typed; an argument is named by its placeholder."""
    if parameter.param_type_name == "argument":
        return str(parameter.name).upper()
    return str(max(parameter.opts, key=len))  # the long form


def _of_train(values: Mapping[str, Any]) -> set[str]:
    from lang_jepa.cli.options import run_to_resume
    from lang_jepa.settings.recipes import system_of

    named = values["recipe"] or ("next_sentence" if values["start"] is None else "")
    if not named:
        return set()  # the settings of an encoder's run
    recipe, _ = run_to_resume(named, resume=values["resume"])
    return {"decoder": {_DECODER}, "gpt": {_GPT_RECIPE}}.get(system_of(recipe), set())


def _of_evaluate(values: Mapping[str, Any]) -> set[str]:
    from lang_jepa.inference.model_folder import find_gpt

    return set() if find_gpt(values["run"]) is None else {_GPT}


def _of_source(values: Mapping[str, Any]) -> set[str]:
    source = Path(values.get("source") or values["corpus"])
    name = source.name.lower().removesuffix(".gz").removesuffix(".zst")
    true = {_DOCUMENTS} if source.is_dir() else set()
    return true | ({_UNREAD} if name == "stories" or Path(name).suffix == ".txt" else set())


def _of_document(values: Mapping[str, Any]) -> set[str]:
    file = values["file"]
    if file is not None and file.is_dir():
        return {_DOCUMENTS}
    return {_UNREAD} if file is None or file.suffix.lower() == ".txt" else set()


def _of_bits(values: Mapping[str, Any]) -> set[str]:
    from lang_jepa.data.corpus.corpus import MANIFEST

    return {_CORPUS} if (values["folder"] / MANIFEST).is_file() else set()


_CONDITIONS: Mapping[str, Callable[[Mapping[str, Any]], set[str]]] = {
    "train": _of_train, "evaluate": _of_evaluate, "index": _of_source, "shards": _of_source,
    "duplicates": _of_source, "topics": _of_source, "document": _of_document, "bits": _of_bits,
}  # fmt: skip
