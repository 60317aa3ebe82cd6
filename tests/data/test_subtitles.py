"""Subtitles: cues as lines, voices as speakers, marks and repetitions left out."""

from pathlib import Path

import numpy as np
import pytest

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.sources.read_subtitles import subtitles_prose
from tiny import tiny_settings

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Good morning,</i>
everybody.

2
00:00:03,000 --> 00:00:04,000
{\\an8}Tom &amp; Ann

3
00:00:04,000 --> 00:00:05,000
Tom & Ann
"""
VTT = """WEBVTT - a title

NOTE not said

STYLE
::cue { color: red }

intro
00:01.000 --> 00:02.000 align:start
<v.loud Anna Bell>Good <c.blue>morning</c>.</v>

00:02.000 --> 01:02:03.000
<v Ben>3 &lt; 4, <00:02.500>you know.

00:05.000 --> 00:06.000

"""


def test_cues_become_lines() -> None:
    assert subtitles_prose(SRT) == ("Good morning, everybody.\nTom & Ann", {"repeated cues": 1})
    assert subtitles_prose(SRT.replace("\n", "\r\n")) == subtitles_prose(SRT)
    text, left_out = subtitles_prose(VTT)
    assert text == "Anna Bell: Good morning.\nBen: 3 < 4, you know."
    assert left_out == {"notes and styles": 2, "cues without text": 1}


def test_a_cue_with_several_voices_is_a_line_for_each() -> None:
    cue = "00:01.000 --> 00:02.000\n"
    two = f"{cue}<v Anna>Is it open?</v>\n<v.loud Dr: Bo &amp; Co>Until <i>six</i>.</v>"
    assert subtitles_prose(f"WEBVTT\n\n{two}")[0] == "Anna: Is it open?\nDr Bo & Co: Until six."
    again = f"WEBVTT\n\n{two}\n\n{two}\n\n{cue}[music] <v Anna>Good.</v>\n\n{cue}<v Bo></v>"
    text, left_out = subtitles_prose(again)
    assert text.split("\n")[2:] == ["[music]", "Anna: Good."]
    assert left_out == {"repeated cues": 1, "cues without text": 1}
    names = f"{cue}Anna: Is it\nopen?\nBen: Yes:\nuntil six\n\n{cue}It said\nBen: no\n\n{cue}<i>- ANNA: Hi</i>\n- BEN: Ho\n\n{cue}Anna: Hi\nand I said: no\n\n{cue}<v 2>So.\n\n{cue}<v {'Ann ' * 12}>No."
    spoken = [
        "Anna: Is it open?",
        "Ben: Yes: until six",
        "It said Ben: no",
        "ANNA: Hi",
        "BEN: Ho",
        "Anna: Hi and I said: no",
        "speaker 2: So.",
        f"{'Ann ' * 7}An: No.",
    ]
    assert subtitles_prose(names)[0].split("\n") == spoken


@pytest.mark.parametrize("text", ["", "WEBVTT", "no cue at all\n\nnor here", "00:00 --> 1\nx"])
def test_what_holds_no_cue_holds_no_text(text: str) -> None:
    assert subtitles_prose(text)[0] == ""


def test_a_folder_of_them_gives_turns_with_speakers(tmp_path: Path) -> None:
    (tmp_path / "talks").mkdir()
    for number in range(6):
        (tmp_path / "talks" / f"{number}.vtt").write_text(VTT.replace("Good", f"{number} good"))
    settings = tiny_settings(
        tmp_path / "run", f"data.train_file={tmp_path / 'talks'}", "data.units=turns", "data.min_length=1",
        "data.val_fraction=0", "data.deduplicate=none", "data.limit=null",
    )  # fmt: skip
    corpus = prepare(settings.data)
    assert corpus.train.num_documents == 6
    assert corpus.train.num_sentences == 12
    assert len(set(corpus.train.speakers(np.arange(12)).tolist())) == 2
    assert corpus.manifest["statistics"]["left_out"] == {"cues without text": 6, "notes and styles": 12}
