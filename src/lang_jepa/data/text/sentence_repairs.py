"""Corrections for `sentencex`: characters it fails on, and cuts that it makes in the wrong place.

Each rule exists because of texts that the library (1.0.32) splits wrongly, and examines only a few characters before
and after a cut.
"""

import re
from collections.abc import Callable
from functools import cache


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _by_language(everywhere: str, **words: str) -> Callable[[str], frozenset[str]]:
    """Words per language plus common ones; an abbreviation in one language can be a word in another (ago, cap, art)."""
    common = _words(everywhere)
    tables = {language: common | _words(own) for language, own in words.items()}
    return lambda language: tables.get(language, common)


_TITLES = _words(
    """
    Ms Mx Mr Mrs Messrs Msgr Mgr Mme Mmes Mlle Mlles Mevr Ste Prof Sra Sras Srta Dña Dott Avv Ft
    Excmo Excma Ilmo Ilma Rvdo Rvda Frhr
    """
)
"""Titles before a name, in any language; sentencex knows them only in their own language (a Mr. in Russian)."""
_TITLES_ELSEWHERE = _words("Dr St Sr")
"""The same, except in English, where a drive or a street may end a sentence; sentencex handles this itself."""

_NEVER_LAST = _by_language(
    "approx",
    de="""
    allg bes bspw bzgl bzw ehem einschl entspr evtl exkl frz geb gem ggf ggü inkl insb insbes jew kath lfd österr
    schweiz sog stv vgl zzgl Abschn Anh Anl Az Aktz Beschl Bez Dipl-Ing Fa Fr Hr Hrsg Pfr Reg-Bez Rs Slg Tsd Urt
    Br Ing -Ing mult
    """,
    fr="MM Me Pr Vve Av",
    es="Sres Dra Dras Dres Lic Ing Av",
    pt="Dra Dras Sres Av Lic Ing",
    ca="Dra Dras Sres Lic Ing Av",
    gl="Dra Dras Sres Lic Ing Av",
    it="Ing",
    nl="Dhr dhr mevr Mw mw mr dr Ing Br",
    pl="dr mgr",
)
"""Words with a full stop after which a sentence continues, in addition to those of sentencex."""

_REFERENCES = _by_language(
    """
    Eq eq Eqs eqs Fig fig Figs figs Art art Arts Abs Bd Nr Vgl vgl Ziff Kap BGBl RGBl Cf cf Cfr cfr Chap chap Vol vol
    Sec sec Sect pp
    """,
    en="""
    Ex ex Exh Ch ch Cl cl Ann Admin App Bankr Cir Civ Code Comm Comp Cong Const Crim civ crim Ct Dist Ed Evid Fed Gen
    Proc Pub Rec Reg Rep Rev Rptr Sess Stat Supp Tit L amend cmt sect
    """,
    de="Abb Anm Aufl Nrn Rn Rz Tab Tz Rdnr",
    fr="Ch ch L R n no nos p s t janv févr avr juil sept déc",
    es="Cap cap n nos núm p pag pág t ene abr ago dic",
    pt="Cap cap n p pag pág s t abr ago",
    gl="Cap cap n núm p pag pág s t abr ago",
    it="n p pag s t",
    pl="p s t",
)
"""Words with a full stop that precede a number, a section sign or an initial, in laws, papers and citations."""

_GERMAN_LEADS = _words(
    """
    am vom im zum zur beim ab bis seit der die das den dem des ein eine einen einem einer eines und oder sowie nach
    jeder jede jedes jeden jedem dieser diese dieses diesen diesem mein meine meinen meinem meiner meines dein deine
    sein seine seinen seinem seiner seines ihr ihre ihren ihrem ihrer ihres unser unsere unseren unserem unserer
    """
)
"""German words after which a number with a full stop is an ordinal."""

_STARTERS_DE = _words(
    """
    Der Die Das Den Dem Des Ein Eine Einen Einem Einer Eines Er Sie Es Wir Ihr Ich Du Man Und Aber Oder Doch Denn Dann
    Danach Da Dort Hier Heute Jetzt Nun So Wenn Als Weil Obwohl Während Nach Vor In Im An Am Auf Aus Bei Beim Bis
    Durch Für Gegen Mit Ohne Über Um Unter Von Vom Zu Zum Zur Zwischen Seit Diese Dieser Dieses Jede Jeder Jedes Alle
    Viele Einige Kein Keine Nicht Auch Nur Noch Schon Sein Seine Mein Meine Unser Unsere Dabei Damit Daher Deshalb
    Trotzdem Außerdem Zudem Jedoch Später Wer Was Wo Wie Warum Ist Sind War Hat Haben
    """
)
"""Words that cannot follow a German ordinal; a number before them ends its sentence."""

_STARTERS_NL = "Daarna Dan Toen De Het Een Er Dat Dit Deze Hij Zij Ze Wij We Ik Maar Ook Nu In Op Met Voor"
_STARTERS_RU = "Потом Затем Тогда Он Она Они Оно Это Эти Этот Мы Вы Я А И Но Однако Поэтому Если Когда"
"""Words that are capitalised only at the beginning of a sentence."""

_AFTER_GERMAN_ORDINAL = re.compile(
    r"(?:Jahrhunderts?|Januar|Jänner|Februar|März|Mai|Juni|Juli|Oktober|Dezember)\b|(?:April|August|September|November)\s+\d{4}\b"
)

_PLAIN_WORDS = {"en": "no me ill art miss may ok ore", "it": "no si"}
"""Words that sentencex always takes for abbreviations (number, Illinois, Maine); `no` in most languages."""
_LISTS = "etc ecc enz osv atd itd itp т.д т._д т.п т._п"
"""Abbreviations that end a list, and usually the sentence too (an underscore stands for a space)."""
_NAMES = "Inc Co Corp Ltd Bros Jr Sr Esq Ave U.S U.K D.C U.S.A"
"""Abbreviations that end a name; before an English `I` the sentence ends too."""
_LATIN_UPPER = "A-ZÀ-ÞĆČĎŁĽŇŘŚŠŤŹŻŽ"
_UPPER = _LATIN_UPPER + "Α-ΩΆ-ΏЁЄІЇА-ЯҐ"
_I = r"I(?:['’]\w|\s+(?!of\b)[a-z])"
_CAPITAL = rf"\s+[\"'“‘«(]*(?:{_I}|A\s|[ВЯИОСУКАІ]\s|(?![IVXLC]+\b)[{_UPPER}][^\W\d_]+[\s'’,;:.!?])"
"""A word that begins a sentence and is not a number (no. 5, no. IX, no. B5)."""


def _after(words: str) -> str:
    """A pattern for the position after one of the words with its full stop; each look-behind has a fixed length."""
    by_length: dict[int, list[str]] = {}
    for word in words.replace(".", r"\.").replace("_", r"\s").split():
        by_length.setdefault(len(word.replace("\\", "")), []).append(word)
    return "|".join(rf"(?<=[\s\"'“‘«(](?:{'|'.join(group)})\.)" for group in by_length.values())


@cache
def _ends(language: str) -> re.Pattern[str]:
    """Full stops that end a sentence although sentencex never cuts there; matching from the full stop is fast."""
    answer = r"(?<=\ANo\.)|(?<=[.!?]\sNo\.)|(?<=[\"“‘«(]No\.)|(?<=[.!?][\"”’)]\sNo\.)"
    words = rf"(?<!\d,\sno\.)(?:{_after(_PLAIN_WORDS.get(language, 'no') + ' ' + _LISTS)})"
    # In German a capital does not indicate a sentence, since all nouns have one.
    ends = [rf"(?<!\.\.)(?=\s+[\"“«(]*[¿¡][\"“«]*[{_UPPER}])", rf"(?:{answer}|{words})(?={_CAPITAL})"]
    if language == "en":
        ends.append(rf"(?:{_after(_NAMES)})(?=\s+{_I})")
    if language == "de":
        ends[1] = rf"(?:{_after('usw etc')}|(?<=[^\W\d_] [A-Z]\.))(?=\s+(?:{'|'.join(_STARTERS_DE)})\b)"
    if language == "nl":
        ends.append(rf"(?<=[a-z] [A-Z]\.)(?=\s+(?:{_STARTERS_NL.replace(' ', '|')})\s)")
    if language == "ru":
        ends.append(rf"(?:{_after('г гг руб коп тыс млн млрд')})(?=\s+(?:{_STARTERS_RU.replace(' ', '|')})\s)")
    return re.compile(rf"\.(?:{'|'.join(ends)})")


# sentencex panics at a letter, one of these spaces and a full stop.
_RARE_SPACE = re.compile(r"[\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_ELLIPSIS = re.compile(r"…(?=\s+(\w))")
_QUOTES_AND_BRACKETS = re.compile("[\"'`“”„‟«»‹›‘’‚‛「」『』《》()（）<>{}\\[\\]]")


def plain(text: str, language: str) -> str:
    """The text in a form that sentencex can read, with the same number of characters."""
    text = _ends(language).sub("!", text)
    if text.isascii():
        return text
    text = _SURROGATE.sub("\ufffd", _RARE_SPACE.sub(" ", text))
    return _ELLIPSIS.sub(lambda match: "…" if match[1].islower() else ".", text)


def without_quotes(text: str, language: str) -> str:
    """The same with spaces instead of quotation marks and brackets, so that sentences between them are found."""
    return _QUOTES_AND_BRACKETS.sub(" ", plain(text, language))


_OPENERS = "\"'`“„«»‹‘‚「『《（([{<"
_EMOJI = "\U0001f000-\U0001faff\u2600-\u27bf\u200d\ufe0e\ufe0f\U000e0020-\U000e007f"
_BELONGS_BEFORE = re.compile(rf"(?:[\"'”’»›)\]}}」』）】》〉*_¹²³⁰-⁹{_EMOJI}]|\[\d{{1,3}}\])++(?=\s)|[{_EMOJI}]++|\s++")


def moved(text: str, cut: int, start: int, end: int) -> int:
    """Move a cut to the first character of the next sentence: after closing marks and white space, before opening ones.

    Closing marks are quotation marks, brackets, emphasis, superscript citation marks and emoji.
    """
    if cut - 1 > start and text[cut - 1] in _OPENERS and text[cut - 2].isspace():
        cut -= 1
    while cut < end and (match := _BELONGS_BEFORE.match(text, cut, end)):
        cut = match.end()
    return cut


_REACH = 48
"""Number of characters examined before a cut."""
_SENTENCE_REACH = 400
"""Number of characters searched for a capital letter."""
_LONGEST_ABBREVIATION = 5
"""Maximum length of a word with a full stop to be taken for an abbreviation before a lower-case letter."""
_MARKER = re.compile(r"\W*(?:\d{1,3}|[^\W\d_]|[ivxIVX]{1,4})?[.)\s]*")
_FIRST_LETTER = re.compile(r"(?:[—–-]{1,2} ?)?(\w)")
_CLOSERS = "\"'”’»›)]}」』）】》〉*_"
_LAST_WORD = re.compile(r"([^\s(.]*)\.$")
_PRICE = re.compile(r"[$€£¥]\s?\d+[.,]\d\d\.$")
_HYPHEN = re.compile(r"(?<=\.)-[A-Z]\w{0,4}\.")
_NO_PART = re.compile(r"[\"“„«\[\u2e80-\ud7ff]")
"""Separates a word from what directly precedes it: an opening quotation mark, Chinese characters."""
_PREFIX = re.compile(
    r"(?:(?i:[dlnsjmtc]|qu|lorsqu|puisqu|jusqu|un|all|d?all|dell|nell|sull|coll|quell)?['’]|‘)(?=\w\w|[A-Z])"
)
"""An elided article (l'art.) or an opening single quotation mark; a word ending in 's or 't is kept whole."""
_REFERENCE_NEXT = re.compile(
    rf"[\d§]|[(\[](?![A-Z]\w*\s+[a-z])|[ivxlc]+\b|(?!{_I})[IVXLC]+\b|[^\W\d_]\.|[A-Z][a-z]{{1,5}}\. *[\d§(]"
)


def goes_on(text: str, start: int, cut: int, language: str) -> bool:
    """Whether the sentence that began at `start` continues at `cut`."""
    tail = text[max(start, cut - _REACH) : cut].rstrip()
    following = text[cut]
    if following in ",;:，、；：" or (following == "-" and _HYPHEN.match(text, cut)):
        return True
    if start >= cut - _REACH and _MARKER.fullmatch(tail):
        return True
    if tail[-1] in "」』．":
        return following.isdigit() if tail[-1] == "．" else text.startswith(("と", "って"), cut)
    # If the sentence so far has no capital, a lower-case letter may begin a sentence.
    first = _FIRST_LETTER.match(text, cut)
    small = first is not None and first[1].islower() and not text[max(start, cut - _SENTENCE_REACH) : cut].islower()
    if tail.rstrip(_CLOSERS)[-1:] in ("!", "?"):
        return small
    match = _LAST_WORD.search(tail)
    if match is None:
        return False
    word = match[1]
    if len(word) == 1 and word.isupper() and not word.isascii():
        return True
    if small and len(word) <= _LONGEST_ABBREVIATION:
        return _PRICE.search(tail) is None
    if following in "¿¡":
        return False
    bare = word if word.isascii() and word.isalpha() else _PREFIX.sub("", _NO_PART.split(word)[-1])
    if (len(bare) < 5 and _is_initial(tail, bare, text, cut, language)) or _is_citation(tail, text, cut):
        return True
    if bare in _TITLES or (language != "en" and bare in _TITLES_ELSEWHERE):
        return following.isalpha()
    if bare in _REFERENCES(language) and bare not in _NEVER_LAST(language):
        return _REFERENCE_NEXT.match(text, cut) is not None
    ordinal = word.isdigit() and _is_german_ordinal(tail, text[cut : cut + 24], language)
    return ordinal or bare in _NEVER_LAST(language)


_INITIAL = re.compile(r"[A-Z]\.")
_PLURAL = re.compile(r"([A-Z])\1\.")
_SURNAME = re.compile(rf"[{_LATIN_UPPER}][^\W\d_]{{3}}")
_INITIAL_BEFORE_SURNAME = re.compile(r"[A-Z](?:[a-z]?-[A-Z])?")
_BEFORE_INITIAL = re.compile(
    rf"(?:(?:^|\s)[\"“„«(\[]*(?:[{_UPPER}]\S*|\S+\.)\s|[\u0370-\u1fff\u2e80-\ud7ff],?)\s*[A-Z][a-z]?[\w-]*\.$"
)
"""A capitalised word, an abbreviation (prof.) or another script before an initial; not a small word (vitamine C.)."""
_DON = re.compile(r"\w\w\.?,? (?:y|e|a|de|con|com|por) D\.$")
_MONSIEUR = re.compile(r"(?<!\b\w et )(?<!point )(?<!taille )\bM\.$")
_SAN = re.compile(r"\b(?:di|a|da|in) S\.$")
_TITLE_LETTER = {"es": _DON, "gl": _DON, "pt": _DON, "fr": _MONSIEUR, "it": _SAN}
"""One-letter titles, as opposed to letters that enumerate (los puntos C y D.)."""


def _is_initial(tail: str, word: str, text: str, cut: int, language: str) -> bool:
    """Whether a word with a full stop is part of a name or of an abbreviation with spaces (d. C., EE. UU.)."""
    if len(word) == 1 and word.isalpha() and _INITIAL.match(text, cut):
        return True
    if word.startswith("-") and _INITIAL_BEFORE_SURNAME.fullmatch(f"J{word}"):
        return not tail.endswith(("av. J.-C.", "apr. J.-C."))
    # English and German are left to sentencex, which knows the words that begin a sentence after "vitamin C."
    if language not in ("en", "de") and _INITIAL_BEFORE_SURNAME.fullmatch(word) and _SURNAME.match(text, cut):
        title = _TITLE_LETTER.get(language, _BEFORE_INITIAL)
        return bool(title.search(tail) or _BEFORE_INITIAL.search(tail))
    return _PLURAL.fullmatch(f"{word}.") is not None and _PLURAL.match(text, cut) is not None


_LAW_REVIEW = ("L. Rev.", "L.J. ", "L. J. ")
_SERIES = re.compile(r"\d{1,2}(?:d|nd|rd|th)\s+\d")
_REPORTER = re.compile(r"(?:^|\s)\d{1,4} (?:[A-Z][\w'’]*(?:\. ?| )){0,3}[A-Z][\w'’]*\.$")
_PAGES = re.compile(r"(?:[A-Z]\w{0,7}\. ?){0,3}\d{1,4}(?: \(|, \d)")


def _is_citation(tail: str, text: str, cut: int) -> bool:
    """Whether a law reporter's name is between its volume and its series or page (12 So. 2d 3, 5 Vet. 3 ()."""
    if text.startswith(_LAW_REVIEW, cut) or (text[cut].isdigit() and _SERIES.match(text, cut)):
        return True
    return _PAGES.match(text, cut) is not None and _REPORTER.search(tail) is not None


_ORDINAL = re.compile(r"(?:^|\s|\()(?:(I) )?(?:(\w+) )?\d{1,3}\.$")
_WORD = re.compile(r"[^\W\d_]+")


def _is_german_ordinal(head: str, after: str, language: str) -> bool:
    """Whether the number at the end of `head` is an ordinal; sentencex recognises them only before months."""
    match = _ORDINAL.search(head)
    word = _WORD.match(after)
    if match is None or word is None:
        return False
    if _AFTER_GERMAN_ORDINAL.match(after):
        return True
    before = match[2] or ""
    lead = before.lower() in _GERMAN_LEADS and match[1] is None
    # After a noun the number is a cardinal (Haus 5), so the sentence may end.
    return (lead or (language == "de" and (before.islower() or not before))) and word[0] not in _STARTERS_DE
