"""The words that the sentence rules know; capitals count."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STARTERS = _words(
    """
    The A An This That These Those It Its He She We They You I In On At As If When While Where Who What Why How
    There Here His Her Their Our My Your But And Or So Yet For From By With Without After Before During Since
    Because Although Though However Therefore Thus Moreover Furthermore Then Now Also Once Some Many Most Each
    Every All Both Only Even Such No Not To Of Is Are Was Were Do Does Did Can Could Will Would Should Let
    Please See Another Other Several One Two Three First Second Finally Next Later Last Today
    Tomorrow Yesterday Under Until Upon Within
    Yes Well Oh Perhaps Instead Indeed Meanwhile Nevertheless It's He's She's That's There's I'm I've We're
    They're You're Don't Can't
    """
)
"""Words that, in capitals after an abbreviation, mostly begin a new sentence."""

ABBREVIATIONS = _words(
    """
    Mr Mrs Ms Mx Dr Prof St Ste Gen Rev Sen Rep Gov Capt Lt Col Sgt Maj Cpl Cmdr Adm Hon Messrs Mme Mlle Pres Supt
    Insp Mt Ft Drs Profs Sens Reps Gens Fr Hr Sra Sr Srta Dña Mssrs MM al Inc Ltd Co Corp Jr Bros Cos Esq dept
    Dept est Est Assn Ave Blvd Rd Hwy Bldg Univ univ Inst Acad ed eds Eds rev trans Trans Jan Feb Apr Jul Aug Sep
    Sept Oct Nov Dec Fig fig Figs figs Eq eq Eqs eqs vol Vol vols Vols chap Chap approx Approx ca Ala Ariz Ark
    Calif Colo Conn Fla Ga Kan Ky Md Mich Minn Mont Neb Nev Okla Penn Tenn Tex Va Vt Wis Wyo Ont Que Ph Bot Biol
    Chem Phys Proc Natl Soc Int Intl Govt Mfg Tel tel Ext ext hrs sp spp var subsp Abt usw bzw Mio Mrd
    """
)
"""Words that end a sentence only when one of the starters follows."""

BEFORE_NUMBERS = _words(
    """
    No no Nos nos Nr nr Fig fig Figs figs Eq eq Eqs eqs Vol vol Vols vols Ch ch Chap chap Sec sec Sect sect Art art
    Pt pt Tab p pp P PP l ll ft lbs n nn v vv fol f ff Ref ref Refs refs Ex ex Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct
    Nov Dec approx Approx ca c circa al Abb Abs Bd Kap Aufl Ver ver Op op Lk Mk Mt Jn Cor Gen Lev Num Deut
    """
)
"""Words that, with a number after them, do not end a sentence."""

NEVER_LAST = _words("vs Vs viz Viz cf Cf i.e I.e e.g E.g eg ie c.f z.B d.h u.a resp Resp incl Incl")
"""Words that never end a sentence."""
