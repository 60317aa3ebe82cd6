"""The page of a trial: one file without scripts and without requests; everything quoted from a text is escaped."""

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any

from lang_jepa.comparison.trial.plan import Plan, TrialOptions
from lang_jepa.comparison.trial.scores import curve, section
from lang_jepa.comparison.trial.verdict import Verdict, short_name
from lang_jepa.errors import counted, visible
from lang_jepa.files.version import __version__

if TYPE_CHECKING:
    from lang_jepa.evaluation.table import Report

PAGE = "report.html"
_CUT = 320
"""Characters of a passage that are shown."""
_OVERLAP = 0.2
"""If at least this share of the held-out units occurs in the training text, the page says so."""

_LANGUAGES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "nl": "Dutch",
    "pt": "Portuguese", "zh": "Chinese", "ja": "Japanese", "ru": "Russian", "el": "Greek", "ar": "Arabic",
    "hi": "Hindi",
}  # fmt: skip

Info = Mapping[str, Any]
Commands = Sequence[tuple[str, str]]


def page(
    options: TrialOptions,
    info: Info,
    verdict: Verdict,
    report: "Report",
    plans: Mapping[str, Plan],
    commands: Commands,
) -> str:
    """Return the page as HTML.

    Args:
        options: of the trial.
        info: what was found, see `lang_jepa.comparison.trial.trial`.
        verdict: what the page says first.
        report: the scores; without rows if nothing was trained.
        plans: of the trainings, by their folders.
        commands: what to do next.
    """
    sections = [
        ("text", "The text", _text(info)),
        ("scores", "Scores", _scores(info, report)),
        ("surprises", "What does not belong", _surprises(info)),
        ("topics", "Kinds of lines" if info["kind"] == "logs" else "Topics", _topics(info)),
        ("copies", "Copies", _copies(info)),
        ("searches", "Searches", _searches(info)),
        ("next", "What to do next", _next(commands)),
        ("how", "How it was done", _how(options, info, plans)),
    ]
    shown = [(name, title, body) for name, title, body in sections if body]
    template = Template((resources.files("lang_jepa.comparison.trial") / "page.html").read_text("utf-8"))
    return template.substitute(
        title=escape(f"{verdict.headline}: {options.path}"),
        of=f"{_e(str(options.path))}, tried with lang-jepa",
        tone="yes" if verdict.helps else "no",
        headline=_e(verdict.headline),
        verdict="".join(f'<p class="lead">{_e(_together(one))}</p>' for one in verdict.sentences) + _glance(info),
        nav="".join(f'<li><a href="#{name}">{_e(title)}</a></li>' for name, title, _ in shown),
        sections="\n".join(
            f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{_e(title)}</h2>{body}'
            "</section>"
            for name, title, body in shown
        ),
        footer=f"Written by lang-jepa {__version__}. This file is complete: it loads nothing and sends nothing.",
    )


def _e(text: str) -> str:
    """Escape a text for HTML, and make control characters visible."""
    return escape(visible(text))


def _together(sentence: str) -> str:
    """Keep numbers and their percent signs on the same line."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")


def _quote(text: str) -> str:
    return _e(_cut(text, _CUT))


def _cut(text: str, most: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


def _place(place: str) -> str:
    return f'<span class="place">{_e(place)}</span>'


def _text(info: Info) -> str:
    about, unit = info["about"], info["unit"]
    median, low, high = about["words_each"]
    each, few, many = about["units_each"]
    several = f"{each:,} a document; most have {few:,} to {many:,}" if about["documents"] > 1 else ""
    tiles = [
        ("documents", f"{about['documents']:,}", ""),
        (f"{unit}s", f"{about['units']:,}", several),
        (f"words in a {unit}", f"{median:,}", f"most have {low:,} to {high:,}"),
        ("language", _LANGUAGES.get(info["language"] or "", "?"), "a guess by frequent words")
        if info["kind"] != "logs"
        else None,
    ]
    shown = "".join(
        f"<div><dt>{_e(name)}</dt><dd>{_e(value)}<small>{_e(more)}</small></dd></div>"
        for name, value, more in filter(None, tiles)
    )
    others = f" Left out: {_e(info['others'])}." if info["others"] else ""
    kinds = ", ".join(f"<code>--as {one}</code>" for one in ("documents", "dialogues", "logs") if one != info["kind"])
    lost = [f"{count:,} × {_e(reason)}" for reason, count in [*about["rejected"], *about["left_out"]]]
    losses = f"<p>Not read: {'; '.join(lost)}.</p>" if lost else "<p>Everything in it could be read.</p>"
    return (
        f"<p>Taken for <strong>{_e(info['kind'])}</strong>: {_e(info['taken'])}.{others} "
        f'<span class="soft">To take it for something else: {kinds}.</span></p>'
        f'<dl class="tiles">{shown}</dl>{losses}'
    )


def _glance(info: Info) -> str:
    """What else was found, a line each, linked to its section."""
    copies, surprises, topics = info["copies"], info.get("surprises"), info.get("topics")
    found = []
    if info["kind"] != "logs" and copies["exact"] + copies["near"] + copies["repeated"]:
        said = f"{_documents(copies)}, {counted(copies['repeated'], 'repeated ' + info['unit'])}"
        found.append(("copies", "Copies", said))
    if surprises and surprises["most"]:
        one = surprises["most"][0]
        found.append(("surprises", "Least expected", f"“{_cut(one['text'], 70)}” ({one['place']})"))
    if topics and topics["topics"]:
        words = [" ".join(one["words"][:2]) for one in topics["topics"] if one["words"]]
        name = "Most lines are about" if info["kind"] == "logs" else "Most of it is about"
        found.append(("topics", name, ", ".join(words[:4])))
    lines = "".join(f'<li><a href="#{where}">{name}</a>: {_e(said)}</li>' for where, name, said in found)
    return f'<ul class="glance">{lines}</ul>' if lines else ""


def _documents(copies: Mapping[str, Any]) -> str:
    exact, near = copies["exact"], copies["near"]
    return f"{counted(exact, 'exact copy', 'exact copies')}, {counted(near, 'near copy', 'near copies')}"


def _scores(info: Info, report: "Report") -> str:
    """The tables, below notes on what makes them look too good or too bad."""
    if info["lacking"] is not None:
        return (
            f"<p>{_e(info['lacking'])} What follows needs no training: copies, topics by the words alone, and "
            "searches for words. No score is given, since none would mean anything.</p>"
        )
    notes = []
    if (share := info["overlap"]) >= _OVERLAP and info["kind"] != "logs":  # whose lines always recur
        notes.append(
            f"{100 * share:.0f} % of the held-out {info['unit']}s occur word for word in the training text, so all "
            "scores here are higher than on entirely new text."
        )
    notes += [f"Training warned: {alarm.partition('. ')[0].rstrip('.')}." for alarm in info["alarms"]]
    return "".join(f"<p>{_e(note)}</p>" for note in notes) + section(report, info["unit"])


def _surprises(info: Info) -> str:
    found, unit = info.get("surprises"), info["unit"]
    if not found or not found["most"]:
        return ""
    whose = "of the whole text" if found["against"] == "training" else "of the same document"
    relative = info["kind"] == "documents"
    less = (
        ", less the mean of its document, since text that was trained on surprises less than what was held out"
        if relative
        else "; above 0 is worse than chance"
    )
    body = (
        f"<p>{counted(found['judged'], unit)} were compared with their surroundings, by {_e(_way(info))}. The number "
        f"says by how many standard deviations a {unit} fits worse there than shuffled ones {whose}{less}. A high "
        "number is worth a look, not proof of an error.</p>"
    )
    if found["outside"]:
        body += f"<h3>Fits neither what precedes nor what follows</h3>{_cards(found['outside'])}"
    worse = relative or (found["most"][0]["score"] or 0.0) > 0
    none = "" if worse else f"<p>No {unit} fits worse than chance: these are merely the least expected.</p>"
    body += f"<h3>Not expected after what precedes</h3>{none}{_cards(found['most'])}"
    if found["documents"]:
        rows = "".join(
            f"<tr><td class='n'>{one['mean']:+.2f}</td><td class='n'>{one['units']:,}</td>"
            f"<td>{_place(one['document'])}</td></tr>"
            for one in found["documents"]
        )
        body += (
            f"<h3>Documents with the most surprising text on average</h3><div class='wide' tabindex='0'><table><tr>"
            f"<th class='n'>mean</th><th class='n'>{unit}s</th><th>document</th></tr>{rows}</table></div>"
        )
    return body


def _cards(passages: Sequence[Mapping[str, Any]]) -> str:
    return f'<ol class="cards">{"".join(map(_surprise, passages))}</ol>'


def _way(info: Info) -> str:
    """How surprise was measured, in words."""
    if info["judge"] == "model":
        predicted = info["surprises"]["used"].startswith("prediction")
        how = "what the model that was trained here predicts" if predicted else "a mean of what stands before, in the "
        return how if predicted else f"{how}vectors of {_called('model')}"
    more = " (a pretrained encoder sees more: --beside ENCODER)" if info["judge"] == "TF-IDF" else ""
    return f"the vectors of {_called(info['judge'])}, without a predictor{more}"


def _surprise(one: Mapping[str, Any]) -> str:
    before = f'<p class="soft">after: {_quote(one["before"])}</p>' if one["before"] else ""
    expected = "".join(f'<p class="soft">expected instead: “{_quote(text)}”</p>' for text in one["expected"])
    return (
        f'<li><span class="share">{one["score"]:+.1f}</span>{_place(one["place"])}{before}'
        f"<p><mark>{_quote(one['text'])}</mark></p>{expected}</li>"
    )


def _topics(info: Info) -> str:
    found, logs = info.get("topics"), info["kind"] == "logs"
    if not found or not found["topics"]:
        return "<p>Too few different sentences to be put into topics.</p>"
    shown = found["topics"]
    if logs:
        said = (
            f"{counted(found['count'], 'kind')} of lines, which differ in more than numbers, times and addresses; "
            f"{found['once']:,} of them occur once. The {len(shown)} most frequent:"
        )
    else:
        said = (
            f"{counted(found['count'], 'topic')} of {found['of']} ({found['chosen']}), by the vectors of "
            f"{_called(info['space'])}. Named by their most telling words."
        )
    body = f'<p>{_e(said)}</p><ul class="cards two">{"".join(_topic(one, logs) for one in shown)}</ul>'
    if logs and found["rare"]:
        rare = "".join(
            f"<li>{_place(one['typical'][0]['place'])}<p>{_quote(one['typical'][0]['text'])}</p></li>"
            for one in found["rare"]
        )
        body += f'<h3>Seen only once</h3><ul class="cards two">{rare}</ul>'
    return body


def _topic(one: Mapping[str, Any], logs: bool) -> str:
    title = one["text"] if logs else ", ".join(one["words"])
    typical = "".join(f"<p>{_quote(near['text'])} {_place(near['place'])}</p>" for near in one["typical"])
    return (
        f'<li><span class="share">{100 * one["share"]:.0f} %</span><span class="words">{_quote(title)}</span>'
        f'<div class="meter"><i style="width:{100 * one["share"]:.1f}%"></i></div>{typical}</li>'
    )


def _called(name: str) -> str:
    names = {"model": "the encoder that was trained here", "TF-IDF": "words alone (TF-IDF)"}
    return names.get(name, short_name(name))


def _copies(info: Info) -> str:
    found = info["copies"]
    if info["kind"] == "logs":
        return ""
    stand = "stands" if found["repeated"] == 1 else "stand"
    several = f"{counted(found['repeated'], info['unit'])} of the others {stand} in several places"
    said = f"{_documents(found)}, which are left out of the training; {several}."
    documents = "".join(
        f"<li>{_place(one['document'])}<p>{_e(one['kind'])} of {_place(one['original'])} "
        f'<span class="soft">({100 * one["share"]:.0f} % of its sentences)</span></p></li>'
        for one in found["documents"]
    )
    sentences = "".join(
        f'<li><span class="share">{one["times"]} ×</span><p>{_quote(one["text"])}</p>'
        f"<p>{', '.join(_place(place) for place in one['places'])}</p></li>"
        for one in found["sentences"]
    )
    body = f"<p>{_e(said)}</p>"
    body += f'<h3>Documents</h3><ul class="cards two">{documents}</ul>' if documents else ""
    return body + (f'<h3>Passages</h3><ul class="cards">{sentences}</ul>' if sentences else "")


def _searches(info: Info) -> str:
    found = info.get("searches")
    if not found:
        return ""
    shown = "".join(
        f"<h3>“{_e(one['query'])}”</h3><ol class='cards'>"
        + "".join(
            f'<li><span class="share">{hit["score"]:.2f}</span>{_place(hit["place"])}<p>{_quote(hit["text"])}</p></li>'
            for hit in one["hits"]
        )
        + "</ol>"
        for one in found
    )
    return (
        f"<p>The queries are words of the largest topics; hits are found by {_e(_called(info['space']))}, and the "
        f"number is the cosine.</p>{shown}"
    )


def _next(commands: Commands) -> str:
    return "".join(f"<p>{_e(what)}:</p><pre>{_e(command)}</pre>" for what, command in commands)


def _how(options: TrialOptions, info: Info, plans: Mapping[str, Plan]) -> str:
    parts = []
    for folder, one in plans.items():
        typed = " ".join(f"-o {shlex.quote(override)}" for override in [*one.overrides, *options.changes])
        again = typed.replace(str(options.output), "again")
        name = "Training" if folder == "run" else "Training over the pretrained encoder"
        drawn = curve(info["curve"], info["kept"]) if folder == "run" else ""
        figure = (
            f"<figure>{drawn}<figcaption>How often the next {_e(info['unit'])} was found among the candidates of a "
            "validation, on held-out text, during training. The dot marks the weights that were kept.</figcaption>"
            "</figure>"
            if drawn
            else ""
        )
        parts.append(
            f"<h3>{name}: recipe <code>{_e(one.recipe)}</code>, {one.steps:,} steps</h3>{figure}"
            f"<details><summary>The command that repeats it</summary>"
            f"<pre>lang-jepa train {_e(one.recipe)} {_e(again)}</pre>"
            "<p>Then <code>lang-jepa evaluate</code> on the run.</p></details>"
        )
    took = "".join(f"<dt>{_e(name)}</dt><dd>{seconds:,.1f} s</dd>" for name, seconds in info["seconds"].items())
    note = "".join(f"<p>{_e(info[name])}</p>" for name in ("not_over", "late") if info.get(name))
    return (
        f"{note}{''.join(parts)}<h3>Seconds of each stage</h3><dl class='how'>{took}"
        f"<dt>seed</dt><dd>{info['seed']}</dd></dl>"
        f"<p>The whole page again: <code>{_e(options.command)}</code></p>"
    )
