"""Sentence spans: a table of exact splits, the contract on any text, and texts made to be slow or to lose something."""

import pickle
import unicodedata
from hashlib import blake2b
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lang_jepa.data.text.sentences import FORMAT, WINDOW, RuleSplitter, align, make_splitter
from lang_jepa.data.text.sentences import LANGUAGES as SUPPORTED
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings

# Sentences separated by "|", which stands in no text here. A wrapped line's newline stays in its sentence.
CASES = {
    "plain": "One thing happened.| Then another did.",
    "question and exclamation": "Who is there?| Nobody!| Good.",
    "interrobang": "You did what?!| She left.",
    "more titles": "It was Ms. Meyer.| She left Ft. Worth.",
    "title": "Dr. Smith met Mrs. Jones.| They talked to Prof. Lee.",
    "e.g. and i.e.": "Eat fruit, e.g. Apples or i.e. Pears.| Do it daily.",
    "country inside": "The U.S. Army came from the U.S. in 1944.| It stayed.",
    "country at the end": "He lives in the U.S. |He likes it.",
    "figure": "See Fig. 3 and Eq. 12 for details.| They agree.",
    "number": "It is No. 5 on the list.| We like it.",
    "et al.": "Smith et al. (2010) found it.| Jones et al. 2012 did not.| So did Lee et al. |The rest is open.",
    "initials": "J. R. R. Tolkien wrote it.| It was read by C. S. Lewis.",
    "initial between names": "Then John F. Kennedy spoke.| People listened.",
    "single letter at the end": "It contains vitamin C. |The rest is water.",
    "I at the end": "She is taller than I. |That is true.",
    "decimals": "Pi is 3.14 and e is 2.72.| Both are irrational.",
    "versions": "Install version 2.0.1 first.| Version 3.0 is broken.",
    "year at the end": "It ended in 1945.| A new age began.",
    "digit begins": "They won.| 300 people cheered.",
    "time of day": "We met at 5 p.m. on Monday.| It rained.",
    "time of day at the end": "We met at 5 p.m. |The rain began.",
    "company": "Apple Inc. Chief Cook spoke.| It was short.",
    "etc. at the end": "We bought milk, eggs, etc. |Then we left.",
    "degree": "She has a Ph.D. from Yale.| He has none.",
    "versus": "It was Smith vs. Jones.| Jones won.",
    "month": "Born on Jan. 5, 1900.| Died on Dec. 24.",
    "page": "See pp. 12 and p. 30 there.| Then stop.",
    "saint": "We went to St. Louis.| It was warm.",
    "curly quotes": "He said, “I am here.”| She nodded.",
    "straight quotes": 'He said, "I am here."| She nodded.',
    "quote goes on": "“Go away!” he said.| “Why?” she asked.",
    "single quotes": "‘It is so.’| We agreed.",
    "guillemets": "Il dit : « Bonjour. »| Elle partit.",
    "open quote never closed": 'He said "it is late.| We left.| It rained.| The end came.',
    "brackets": "It works (see above).| It (this too. Or that.) did.| And this.",
    "brackets go on": "It works (really!) and well.| Good.",
    "citation marks": "It was shown.[12]| Others disagree.[3][4]| Who knows?",
    "raised citation marks": "It was shown.¹²| Others disagree.",
    "feet": "It is 5 ft. 10 in. tall.| It stands.",
    "emphasis": "***Bold.***| _Italic._| Plain.",
    "speech after speech": "“Is it?”| “Yes.”| “Good.”",
    "list in one line": "(1) First point.| (2) Second point.",
    "stars between parts": "The end.|\n\n* * *|\n\nA new part.",
    "questions and answers": "Q: What is it?|\nA: It is a cat.|\nQ: Really?",
    "species": "It lives in E. coli cells.| They divide.",
    "name with a mark": "He works at Yahoo! in Texas.| It is fun.",
    "ellipsis goes on": "Well... maybe we could … go on.| Fine.",
    "ellipsis ends": "I wonder...| Maybe not.| Hm…| Yes.",
    "spaced ellipsis": "He waited . . . and waited.| Nobody came.",
    "leading ellipsis": "... And so it went.| It was over.",
    "address": "Visit https://www.example.com/a.b?c=d.e for more.| It is free.",
    "address at the end": "Visit www.example.com.| It is free.",
    "e-mail": "Write to jane.doe@example.co.uk today.| She answers.",
    "file name": "Open the file setup.py now.| Run it.",
    "bullets": "- first item|\n- second item. |With two sentences.|\n* third item",
    "bullet signs": "Buy:|\n• milk|\n• eggs",
    "numbered": "1. Wash the rice.|\n2. Cook it.|\n10) Eat it.",
    "lettered": "(a) the first|\n(b) the second",
    "wrapped item": "- an item that is\n  wrapped here|\n- another one",
    "text after a list": "- one item|\n- two items|\nThis is no item.| Nor is this.",
    "heading": "The first chapter|\n\nIt was a dark night.| It rained.",
    "markdown heading": "# Title|\nText begins here.|\n## Part two|\nMore text.",
    "short heading line": "Overview|\nThe heart is a muscle that pumps blood through the body.| It beats.",
    "wrapped": "The night was dark and\nfull of rain. |Nobody was\nout on the street.",
    "wrapped before a capital": "On the morning of the third day we came at last to the old city of\nLondon, where my uncle lived.",
    "wrapped before an initial": "This great book was written in Oxford, over a dozen long years, by\nJ. R. R. Tolkien alone.",
    "wrapped raggedly": "The long way home led over hills and through woods to\nEdinburgh and then, past all the\nScottish lochs, further north.",
    "windows line ends": "The night was\r\ndark.| It rained.|\r\n\r\nThe end",
    "Chinese": "你好。|世界很大！|你好吗？|我很好。",
    "Chinese quotes": "他说：“你好。”|她走了。",
    "Chinese with western mark": "你好吗?|我很好。",
    "Japanese": "今日は雨です。|明日は晴れますか？|はい。",
    "Japanese quotes": "「はい。」と彼は言った。|雨が降った。",
    "Korean": "안녕하세요.| 저는 학생입니다.",
    "Arabic": "كيف حالك؟| أنا بخير.| شكرا.",
    "Urdu": "یہ ایک کتاب ہے۔| وہ گھر ہے۔",
    "Hindi": "यह एक किताब है।| वह घर है।",
    "Thai": "วันนี้อากาศดี เราไปเดินเล่น",
    "Russian": "Это дом. |А. С. Пушкин писал стихи.| Он жил в Москве.",
    "Spanish": "¿Qué hora es?| ¡Es tarde!| Vamos.",
    "German": "Das kostet z.B. Geld und Zeit.| Österreich ist schön.",
    "emoji": "Well done! 🎉| See you.👋🏽| Bye 👨‍👩‍👧",
    "small letters throughout": "hello there.| how are you?| fine",
    "legal citation": "The rule is old.| See Smith v. Jones, 5 F.3d 10 (2d Cir. 1999).| The court agreed.",
    "rules of a court": "It fails under Fed. R. Civ. P. 12(b)(6).| See 90 F. Supp. 2d 4 (D. Mass. 2001).| He lost.",
    "statutes": "Fla. Stat. Ann. § 5 applies.| So does Art. 4 there, and Pub. L. No. 99-1, 90 Stat. 7.| Read them.",
    "series of a reporter": "See Smith v. Jones, 12 So. 2d 3 (Fla. 1942), and 5 Mass. App. Ct. 3, 345 N.E.2d 6 (1976), amend. XIV.| I think so. |2 of us do.",
    "short answers": "I asked and he said no. |I went home.| Is it?| No. |I am not.",
    "numbers after no.": "See no. 5, no. IX and Case No. CV-05-1.| So it is.",
    "a word like an abbreviation": "Come with me. |I am ill. |John likes art. |See art. I of it.",
    "a name's end before I": "He works at Apple Inc. |I live in the U.S. |I like it.",
    "end of a list": "Milk, eggs, etc. |John left.| Bring nuts, etc. to me.",
    "price and small letter": "It costs $3.50. |e.g. this one.",
    "full stop, dash": "It was in Europe.|--About it we know little.",
    "dash begins": "It rained.| — We stayed in.",
    "no mark": "just some words without any mark",
    "one letter": "a",
    "nothing": "",
    "white space": " \n\t \u3000\n",
}

GERMAN = (
    "Ich habe am 3. Juni Geburtstag.| Das Gesetz vom 13. Juli 1995 gilt weiter.| Im 19. Jahrhundert war das anders.|"
    " Vgl. Art. 5 Abs. 2 der Verordnung.| Der 2. Versuch gelang am 1. Januar 2015."
)
LANGUAGES = {
    "German": ("de", GERMAN),
    "German without its setting": ("en", GERMAN),
    "German numbers": (
        "de",
        "Es waren 12.| Dann kamen z. B. noch 3. Klassen bzw. Lehrer.| Sie wohnt in Haus 5.| Katzen gibt es dort seit Ende 19. Jahrhundert.| Er geht.",
    ),
    "English numbers": (
        "en",
        "I am 30.| Europe is old.| We were 12.| Der Mann came in May 3.| Nobody saw him.",
    ),
    "German judgments": (
        "de",
        "Das Urt. v. 3. 5. 2001, Az. IX ZR 12/00, ist rechtskräftig.| Dipl.-Ing. Bär hat Plan B. |Das gilt z. B. Die Linke sagt es.",
    ),
    "German lists": ("de", "Äpfel usw. |Er ging.| Äpfel usw. Menschen essen gern."),
    "Spanish capitals": (
        "es",
        "Viajó a EE. UU. |¿Volverá pronto?| Las FF. AA. y D. Juan.| Vive en México, D. F., México. |Fue en d. C. 5.",
    ),
    "Spanish list": ("es", "Compró pan, etc. |¿Volverá el Sr. |¡Sí!| Dijo que no. |Se fue Mr. Smith."),
    "French titles": (
        "fr",
        "Mme. Martin et M. J.-P. Petit, cf. p. 12, l'art. R. 12 et l'art. L. 3.| En 52 av. J.-C. |Les Romains vinrent.",
    ),
    "Russian with Latin": ("ru", "Пришёл Mr. House из St. Louis и т. д. |Он ушёл с J. Tolkien."),
    "Chinese with Latin": ("zh", "Mr. Wang 来了。|昨天Dr. Li 来了。|他认识J. K. Li。|他很高兴。"),
    "Spanish": ("es", "La Sra. Ruiz llegó.| ¿Vive en la Avda. Sur?| ¡Sí!"),
    "Italian": ("it", "Il Dott. Neri parla.| La Sig.ra Verdi ascolta."),
    "French": ("fr", "M. Petit arrive.| Il dit : « Bonjour. »| Elle part."),
    "Russian": ("ru", "Это г. Тула.| Её построил проф. А. Б. Лебедев и др. мастера.| Она стоит."),
    "Russian speech": ("ru", "«Кто там?» — спросила она.| — Я! — сказал он.| Она ушла."),
    "Slovak": ("sk", "Prišiel 5. mája, napr. s bratom.| Bolo to na 2. poschodí."),
    "Chinese": ("zh", "她说：“你好。我走了。”|他没有回答！|为什么呢？"),
    "Japanese": ("ja", "今日は３．５度です。|「寒い。」と彼は言った。|本当ですか？"),
    "Greek": ("el", "Πού είναι το βιβλίο;| Είναι εδώ."),
}


# What is an abbreviation in another language, or in another place.
WORDS = [
    ("en", "We went to McDonald's.| (It was closed.)"),
    ("en", "They said that they don't.| (But they do.)"),
    ("en", "The box is Tom's.| [It is red.]"),
    ("en", "I really can't.| 3 times I tried it."),
    ("en", "That was John's.| 5 people came to see it."),
    ("en", "The house is my father's.| J. Smith built it."),
    ("en", "He said it wasn't.| C. Miller disagreed."),
    ("en", "There are two 6's.| 6's can be found in Mayan manuscripts."),
    ("en", "It happened ten years ago.| 40 people died that day."),
    ("en", "He took off his cap.| 12 men followed him."),
    ("en", "He used the lib.| 3 functions failed."),
    ("en", "He paid 500 Rs.| The shop closed after that."),
    ("en", "I work at MM.| The company is old."),
    ("en", "She lives on Maple Dr.| The house is red."),
    ("en", "We have a mult.| The tool is odd."),
    ("fr", "C'est le plan B.| Ensuite nous partons."),
    ("fr", "Il contient de la vitamine C.| Cette vitamine est utile."),
    ("fr", "Il joue dans le groupe A.| Demain il partira."),
    ("fr", "Les points A et B.| Tracez la droite."),
    ("es", "Es el plan B.| Luego nos fuimos."),
    ("it", "Contiene vitamina C.| Questa è utile."),
    ("pl", "To jest witamina C.| Jest zdrowa."),
    ("en", "See vol. 3, no. Spring 1999, of the journal."),
    ("ru", "Это был 1990 г.| Потом пришла весна."),
    ("ru", "Стоит 5 руб.| Он купил два."),
    ("nl", "Het is plan B.| Daarna gingen we."),
    ("en", "There are two C's.| 3 of them are large."),
    ("en", "She wrote the Code.| (It was long.)"),
    ("en", "Meet Mme. Martin and Ms. Ito at Prof. Lee's.| So it is."),
    ("fr", "Il dit que l'art. 5 suffit.| L'avis de Jean P. Martin et de Prof. Dupont diffère."),
    ("es", "Lo dijo el Sr. J. García.| Nació el 5 ago. 2001."),
    ("de", "Er hat Plan B. |Dann geht er."),
    ("it", "Vedi l'art. 5 della legge.| Visse molti anni.| Era forte."),
    ("pl", "Przyszedł dr. Nowak, por. art. 5 ustawy.| Tak."),
    ("ru", "В 1990 г. Москва росла.| Стоит 5 руб. за штуку."),
    ("fr", "C'est à M. Martin, dit M. Petit.| Les points L et M. |Tracez la droite."),
    ("en", "Pray to Ste. Mary and St. Joseph.| We chose route A-B. |Then we left."),
    ("es", "Vive en la casa de D. Juan García.| Los puntos C y D. |Luego se unen."),
    ("it", "È la basilica di S. Pietro.| Bene."),
    ("pt", "Falou com D. Pedro.| Ela tem vitamina C. |Depois saiu."),
    ("pl", "Powiedział prof. J. Kowalski.| Tak."),
    ("ru", "Он пьёт витамин C. |Потом спит."),
    ("nl", "Mevr. Bakker en mw. Vos komen.| Goed."),
    ("sk", "To je plán B. |Potom odišli."),
    ("zh", "他认识J. Smith。|他很高兴。"),
]


def _pieces(text: str, limit: int = 1000, language: str = "en") -> list[str]:
    return [text[start:end] for start, end in RuleSplitter(limit, language).spans(text)]


@pytest.mark.parametrize("marked", CASES.values(), ids=CASES.keys())
def test_case(marked: str) -> None:
    expected = [part.strip() for part in marked.split("|") if part.strip()]
    assert _pieces(marked.replace("|", "")) == expected


@pytest.mark.parametrize(("language", "marked"), LANGUAGES.values(), ids=LANGUAGES.keys())
def test_case_of_a_language(language: str, marked: str) -> None:
    expected = [part.strip() for part in marked.split("|")]
    assert _pieces(marked.replace("|", ""), language=language) == expected


@pytest.mark.parametrize(("language", "marked"), WORDS)
def test_words_that_are_abbreviations_elsewhere(language: str, marked: str) -> None:
    test_case_of_a_language(language, marked)


@pytest.mark.parametrize("edge", ["|", ""])
def test_rows_of_a_table_stay_whole(edge: str) -> None:
    cells = ["One. Two. | What? No!", "---|---", "Dr. No. Yes. | 3."]
    rows = [f"{edge}{row}{edge}" for row in cells]
    assert _pieces("\n".join(["Look here. Or there:", *rows, "", "It ends. |x| is a size. Here."])) == [
        "Look here.",
        "Or there:",
        *rows,
        "It ends.",
        "|x| is a size.",
        "Here.",
    ]


def test_another_split_has_another_format_number() -> None:
    """Corpora on disk are told apart by the number and by the release of sentencex."""
    texts = [("en", text) for text in CASES.values()] + list(LANGUAGES.values()) + WORDS
    found = [RuleSplitter(30, language).spans(text) for language, text in texts]
    digest = blake2b(repr(found).encode(), digest_size=8).hexdigest()
    assert (FORMAT, version("sentencex"), digest) == (4, "1.0.32", "5a05438456df611f"), (
        "raise FORMAT and pin the digest anew"
    )


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(LangJepaError, match=r"language 'xx'.* one of am, .* de, .* zh"):
        RuleSplitter(1000, "xx")


def test_every_language_splits() -> None:
    """Each code is one that the library takes; that the settings list no other is a matter of types."""
    for language in SUPPORTED:
        assert _pieces("Ab cd! Ef gh! Ij kl!", language=language) == ["Ab cd!", "Ef gh!", "Ij kl!"]


def _cluster_goes_on(text: str, position: int) -> bool:
    """An independent, coarse idea of a place where text should not be cut."""
    left, right = text[position - 1], text[position]
    flags = "\U0001f1e6" <= left <= "\U0001f1ff" and "\U0001f1e6" <= right <= "\U0001f1ff"
    jamo = "\u1100" <= left <= "\u11ff" and "\u1160" <= right <= "\u11ff"
    return (
        unicodedata.category(right)[0] == "M"
        or right in "\u200c\u200d"
        or left == "\u200d"
        or "\U0001f3fb" <= right <= "\U0001f3ff"
        or "\U000e0020" <= right <= "\U000e007f"
        or ("\ud800" <= left <= "\udbff" and "\udc00" <= right <= "\udfff")
        or flags
        or jamo
    )


def _check_contract(text: str, limit: int, language: str) -> None:
    spans = RuleSplitter(limit, language).spans(text)
    outside = []
    position = 0
    for start, end in spans:
        assert position <= start < end <= len(text)
        outside.append(text[position:start])
        position = end
        piece = text[start:end]
        assert piece == piece.strip()
        if len(piece) > limit:
            assert all(_cluster_goes_on(text, place) for place in range(start + limit, end))
    outside.append(text[position:])
    assert not "".join(outside).strip()


_NOISE = st.text(
    st.one_of(
        st.sampled_from(list(" \n\r\t.!?,;:-\"'()[]…。！？「」“”’*_#1aA\u0301\u200d\u2029\x0c\x1c\x85🎉🇩🇪👩🏽")),
        st.characters(),
    ),
    max_size=300,
)
_PARTS = st.lists(
    st.sampled_from([*CASES.values(), "\n", "\n\n", " ", "x" * 50, "e\u0301" * 30, "🇩🇪" * 15, "👨‍👩‍👧" * 9]),
    max_size=8,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(st.one_of(_NOISE, _PARTS), st.integers(20, 60), st.sampled_from(SUPPORTED))
@example("a" + "\u0301" * 100 + "b", 20, "en")
@example("\u200d" * 50, 20, "en")
@example("\ud83d\ude00" * 30, 20, "en")
@example("a " + "b" * 50 + " . . . c", 20, "en")
@example("\n.\n", 20, "en")
@example("x" * 19 + " " * 30 + "y" * 30, 20, "en")
@example("A\u3000. B", 20, "en")  # at which sentencex panics
@example("A.\n\r\nB. C. D.", 20, "en")  # after which its positions are wrong
def test_contract_holds_on_any_text(text: str, limit: int, language: str) -> None:
    _check_contract(text, limit, language)


_SENTENCES = st.sampled_from(
    [
        "It rained.",
        "Dr. Ito said “no. It is late.” and left.",
        "He asked (Why? She knew.) what it was.",
        '"Come here!" she said.',
        "They left at 5 p.m. for the U.S. Embassy, e.g. by car, " + "and on and " * 30 + "on.",
        "他走了。",
    ]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_SENTENCES, min_size=1, max_size=8), st.sampled_from([" ", "  ", "\n", "\u3000"]))
def test_where_a_window_ends_shows_nowhere(sentences: list[str], gap: str) -> None:
    """One long line is split like its sentences, wherever the windows that the library sees end."""
    sentences *= 3 * WINDOW // len("".join(sentences)) + 1
    assert _pieces(gap.join(sentences)) == sentences


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("one two three; four five six, seven", 25, ["one two three;", "four five six, seven"]),
        ("one two three, four five six seven", 25, ["one two three,", "four five six seven"]),
        ("one, two three four five six seven", 25, ["one, two three four five", "six seven"]),
        ("a" * 45, 20, ["a" * 20, "a" * 20, "a" * 5]),
        ("a " + "b" * 45, 20, ["a", "b" * 20, "b" * 20, "b" * 5]),
        ("一二三四五六七八九十，" * 4, 25, ["一二三四五六七八九十，" * 2] * 2),
        ("x" * 19 + "e\u0301" + "y" * 5, 20, ["x" * 19, "e\u0301" + "y" * 5]),
        (
            "一二三四五六七八九十一，\ufe00二三四五六七八九十",
            20,
            ["一二三四五六七八九十一，\ufe00二三四五六七八", "九十"],
        ),
        ("🇩🇪" * 11, 21, ["🇩🇪" * 10, "🇩🇪"]),
        ("x" * 17 + "👨‍👩‍👧" + "y" * 17, 20, ["x" * 17, "👨‍👩‍👧" + "y" * 15, "yy"]),
        ("e" + "\u0301" * 30 + "f", 20, ["e" + "\u0301" * 30, "f"]),
        ("1,000,000,000,000,000 and more", 25, ["1,000,000,000,000,000 and", "more"]),
    ],
)
def test_long_sentences_are_cut_at_the_best_boundary(text: str, limit: int, expected: list[str]) -> None:
    assert _pieces(text, limit) == expected


_MILLION = 1_000_000
SLOW = {
    "one long line": ("This is a sentence, and so on. " * (_MILLION // 31), None),
    "no mark at all": ("word " * (_MILLION // 5), None),
    "one word": ("x" * _MILLION, 1000),
    "newlines": ("a" + "\n" * 100_000 + "b", 2),
    "carriage returns": ("a" + "\r\n" * 100_000 + "b", 2),
    "single newlines": ("a\n" * (_MILLION // 2), None),
    "full stops": ("." * _MILLION + "a", None),
    "wide full stops": ("。" * _MILLION + "と", None),
    "spaced full stops": (". " * (_MILLION // 2), None),
    "quotes": ('"' * _MILLION, None),
    "stop and quotes": ("." + '"' * _MILLION + "a", None),
    "quotes that pair wrongly": ('" ' + '"Go." He said "No." ' * 10_000, None),
    "Chinese quotes": ("他说：“你好。我走。”她走了！" * 20_000, 40_000),
    "open brackets": ("(A came. B went. " * 30_000, None),
    "small letters after marks": ("Ab! c! d! " * 30_000, None),
    "open quote": ('He said "no. ' + "It went on. " * (_MILLION // 12), None),
    "Chinese without a mark": ("中" * _MILLION, 1000),
    "Chinese": ("你好。" * (_MILLION // 12), _MILLION // 12),
    "brackets": ("." + "[1" * (_MILLION // 2), None),
    "emoji": ("!" + " 🎉" * (_MILLION // 2), None),
    "flags": ("🇩🇪" * (_MILLION // 2), 1000),
    "combining": ("a" + "\u0301" * _MILLION, 1),
    "spaces": ("a" + " " * _MILLION + "b", 2),
    "spaces after stop": ("a." + " " * _MILLION + "b", None),
    "initials": ("A. " * (_MILLION // 3), None),
    "abbreviations": ("e.g. " * (_MILLION // 5), None),
    "list": ("- item\n" * (_MILLION // 7), _MILLION // 7),
}


@pytest.mark.parametrize(("text", "count"), SLOW.values(), ids=SLOW.keys())
def test_texts_made_to_be_slow_finish_and_keep_everything(text: str, count: int | None) -> None:
    pieces = _pieces(text)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert max(map(len, pieces)) <= 1000 or "\u0301" in text
    if count is not None:
        assert len(pieces) == count


def test_a_long_quotation_is_split_into_its_sentences() -> None:
    sentences = ["It was a long day."] * 20
    inside = " ".join(sentences)
    for opening, closing in [('"', '"'), ("“", "”"), ("(", ")"), ("«", "»")]:
        found = _pieces(f"He spoke. {opening}{inside}{closing} She slept.")
        assert found == [
            "He spoke.",
            opening + sentences[0],
            *sentences[2:],
            sentences[1] + closing,
            "She slept.",
        ]


def test_a_long_text_is_split_like_its_paragraphs() -> None:
    """What a paragraph becomes does not depend on how much stands around it."""
    paragraph = "Dr. Smith said “no. It is late.” |They left at 5 p.m. |The rain, e.g. this one, fell.|"
    pieces = [piece.strip() for piece in paragraph.split("|") if piece]
    assert _pieces((paragraph.replace("|", "") + "\n\n") * 3000) == pieces * 3000


@pytest.mark.parametrize("name", ["openstax", "classics"])
def test_nothing_of_real_text_is_lost(shared_data: Path, name: str) -> None:
    import pyarrow.parquet as pq

    column = pq.ParquetFile(shared_data / f"{name}.parquet").read_row_group(0, ["text"])["text"]
    lengths = []
    for text in column.to_pylist():
        spans = RuleSplitter(1000).spans(text)
        assert "".join("".join(text[s:e].split()) for s, e in spans) == "".join(text.split())
        assert all(left[1] <= right[0] for left, right in pairwise(spans))
        lengths += [end - start for start, end in spans]
    # Books: a sentence of 60 to 160 characters on average, and very few that had to be cut.
    assert 60 < sum(lengths) / len(lengths) < 160
    assert sum(length > 900 for length in lengths) < 0.005 * len(lengths)


def test_the_splitter_travels_to_another_process() -> None:
    splitter = pickle.loads(pickle.dumps(make_splitter(DataSettings(max_sentence_chars=25, language="de"))))
    assert splitter.spans("One two three four five six seven.") == [(0, 23), (24, 34)]
    assert splitter.language == "de"


def test_sat_without_its_extra_says_what_to_install() -> None:
    from importlib.util import find_spec

    if find_spec("wtpsplit") is not None:
        pytest.skip("wtpsplit is installed")
    with pytest.raises(LangJepaError, match=r"lang-jepa\[sat\]"):
        make_splitter(DataSettings(splitter="sat"))


def test_sat_sentences_are_found_again_in_their_text() -> None:
    text = " One. Two.\nOne. "
    assert align(text, [" One. ", "Two.\n", "", "One."]) == [(1, 5), (6, 10), (11, 15)]
    with pytest.raises(LangJepaError, match="not next in the text"):
        align(text, ["One.", "One."])
    with pytest.raises(LangJepaError, match="lost text"):
        align(text, ["One.", "Two."])


@pytest.mark.parametrize("language", ["it", "de", "ru", "ja"])
def test_initials_without_end_finish_in_every_language(language: str) -> None:
    """Each cut that was found used to be followed by a window of its own: minutes for a page."""
    text = "A." * 20_000
    spans = RuleSplitter(1000, language).spans(text)
    assert "".join(text[start:end] for start, end in spans) == text
