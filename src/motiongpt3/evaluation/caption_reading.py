"""What a caption says: which actions it names, with which hand, and in which direction.

A lexicon of phrases and no language model: it covers the plain English in which people describe motion, and
was checked on the captions of real clips (``benchmarks/mini_tasks.py --judge``).

A phrase claims its words, and the lexicon is read in order, so that "waves a sword" is swordplay and no wave,
and "running steps" are a run. What a body merely keeps doing (arms that swing, the other arm that hangs)
names nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_IRREGULAR = {
    "bend": "bent",
    "bring": "brought",
    "creep": "crept",
    "fall": "fell|fallen",
    "fling": "flung",
    "get": "got",
    "go": "goes|went",
    "hang": "hung",
    "hold": "held",
    "keep": "kept",
    "leap": "leapt",
    "make": "made",
    "rise": "rose",
    "run": "ran",
    "sit": "sat",
    "spin": "spun",
    "spring": "sprang",
    "stand": "stood",
    "stick": "stuck",
    "stride": "strode",
    "strike": "struck",
    "swing": "swung",
    "take": "took",
    "throw": "threw",
}


def _inflect(verbs: str) -> str:
    """A pattern for the inflections of verbs separated by spaces; it takes some that are no English, too."""
    return "(?:" + "|".join(_inflect_one(verb) for verb in verbs.split()) + ")"


def _inflect_one(verb: str) -> str:
    past = f"|{_IRREGULAR[verb]}" if verb in _IRREGULAR else ""
    if verb.endswith("e"):
        return f"{verb[:-1]}(?:es?|ed|ing){past}"
    if verb.endswith("y") and verb[-2] not in "aeo":
        return f"{verb[:-1]}(?:y|ying|ies|ied){past}"
    return f"{verb}(?:s|es|{verb[-1]}?ed|{verb[-1]}?ing)?{past}"


_OWN = r"(?:the|a|an|his|her|their|your|my|its|both|one|two|each|that|this)"
_HAND = r"(?:hands?|arms?|wrists?|palms?|fists?)"
_PART = rf"(?:{_HAND}|legs?|foot|feet|knees?|elbows?|shoulders?|hips?|thighs?|fingers?|heels?|toes?)"
_SIDE = r"(?:left|right)"
# Words that may stand between a verb and the hand that it moves.
_TO_HAND = (
    rf"(?:\s+(?:up|out|high|straight|{_OWN[3:-1]}|of|with|raised|left|right|extended|open)){{0,5}}\s+{_HAND}"
)
_ING = r"(?:turning|moving|walking|jumping|running|hurrying)"
# "head" is a verb where nobody owns it.
_NO_HEAD = "".join(rf"(?<!\b{owner} )" for owner in ("the", "his", "her", "their", "your", "my"))
_UP = r"(?:up|upwards?|high|overhead|in(?:to)? the air|(?:above|over) (?:\w+ )?(?:head|shoulders?))"
_AHEAD = (
    r"(?:forwards?|ahead|straight|on|onwards?|along|off|away|around|about|across|in|through|over|toward|to)"
)

_NO_ACTION = (
    # How it is done.
    r"in an? (?:[\w-]+,? ){1,3}(?:way|manner|fashion|mood|style)\b|in a hurry\b"
    r"|with an? (?:\w+ ){0,2}(?:swagger|bounce|attitude)\b",
    rf"(?:at|with) an? (?:\w+ ){{0,2}}pace\b|clenched fists|{_inflect('strike')} a pose|without {_ING}[\w ]*",
    # The other arm, and what hangs or swings by itself.
    rf"(?:{_inflect('keep leave hold')}|while|with|and|as)\s+{_OWN}?\s*(?:other|opposite)\s+{_HAND}"
    rf"(?:\s+(?:down|still|relaxed|{_inflect('hang stay rest remain')}))*",
    rf"{_inflect('keep leave')}\s+{_OWN}?\s*{_SIDE}\s+{_HAND}\s+(?:down|still|relaxed|at|by|beside|low)\b",
    rf"(?:while|with|and|as)\s+{_OWN}\s+{_SIDE}\s+{_HAND}\s+"
    r"(?:is|stays|hangs|rests|remains|down|hanging|resting|relaxed|at|by)\b(?:\s+(?:down|still|relaxed|at|by))?",
    # Places and ways that are no direction.
    rf"from\s+{_OWN}\s+(?:{_SIDE}\s+)?sides?\b|(?:from )?side to side|from (?:left to right|right to left)",
    r"from one (?:side|foot|leg|hand) to the other|(?:left and right|right and left) (?:feet|foot|legs?)",
    r"\ball right\b|\bright (?:away|now|angles?)\b",
    r"(?:looking|facing|look|face|faces|looks)(?: straight)? (?:to the front|forwards?|ahead)",
    r"back and forth|up and down|forward and back(?:ward)?",
    # Back to where it was.
    rf"{_inflect('put bring drop take lower')} (?:it|them)(?: back)? down(?: again)?",
    rf"{_inflect('stand straighten rise come get')} back up(?:right)?",
)
"""Phrases that are read over."""

_ACTIONS: tuple[tuple[str, str], ...] = (
    ("traffic", rf"traffic|{_inflect('guide tell stop wave')} (?:the )?cars|to cars"),
    ("referee", r"(?:basketball )?referees?(?: in a basketball game)?|fouls?|basketball signals?"),
    ("basketball", r"basket\w*|dribbl\w+|hoops?|bounc\w+ a ball|(?:shoots?|shooting) the ball|penalty shot"),
    (
        "swing",
        rf"(?:monkey )?bars|(?:on|from|to|grips?) an? (?:\w+ )?bar|jungle gym|playground"
        rf"|{_inflect('dangle')}",
    ),
    ("swing", rf"{_inflect('hang')} by|while hanging|on a high place|high up"),
    ("swordplay", rf"(?:{_inflect('wave swing hold lift raise')} (?:\w+ )?)?swords?|swordplay|kendo|axe"),
    ("swordplay", rf"{_inflect('fence slash')}|overhead cuts?"),
    (
        "swordplay",
        rf"{_inflect('chop')}|cuts? in the air|{_inflect('swing')} a stick"
        rf"|hands[\w ]+{_inflect('swing')} down",
    ),
    (
        "martial arts",
        r"karate|kung fu|martial art(?:s|ist)?|katas?|self defen[cs]e|fighting \w+|guard|defend",
    ),
    ("martial arts", rf"{_inflect('lunge')}"),
    (
        "dance",
        rf"{_inflect('dance')}|dancers?|salsa|ballet|ballerinas?|{_inflect('groove')}|break-?danc\w+|b-boy",
    ),
    ("dance", r"brake-danc\w+|hip hop|latin rhythm|jetes?|arabesques?|toprock|footwork|bharatanatyam"),
    (
        "dance",
        rf"{_inflect('move step kick sway')} (?:and \w+ )?(?:to|with) the (?:beat|music|rhythm)|helicopter",
    ),
    (
        "handstand",
        rf"hand-?stands?|upside down|{_inflect('stand')} on (?:{_OWN} )*hands|on {_OWN} hands with",
    ),
    (
        "cartwheel",
        rf"{_inflect('cartwheel')}|like a wheel|flic flac|{_inflect('flip')} sideways on|gymnastics",
    ),
    ("cartwheel", rf"hands on the ground[\w ]*legs over(?: {_OWN} head)?|legs over {_OWN} head"),
    (
        "flip",
        r"backflip\w*|side ?flips?|flips?|flipp\w+|(?:back|sideways) somersault|somersaults? in the air",
    ),
    ("flip", rf"butterfly twist|{_inflect('rotate')} (?:backwards?|sideways)"),
    ("roll", rf"{_inflect('roll')}|somersaults?|{_inflect('tuck')}|{_inflect('tumble')}"),
    (
        "kick",
        rf"{_inflect('kick')}|roundhouse|{_inflect('shoot strike pass')} (?:\w+ )?(?:soccer |foot)?ball",
    ),
    ("kick", r"soccer|football"),
    ("punch", rf"{_inflect('punch')}|boxe?s?|boxing|{_inflect('jab')}|fists?|{_inflect('strike hit block')}"),
    ("wash", rf"{_inflect('wash wipe polish scrub lather rub clean')}|showers?"),
    ("laugh", rf"{_inflect('laugh')}|funny|{_inflect('crack')} up"),
    ("crawl", rf"{_inflect('crawl')}|all fours|hands and knees|along the ground"),
    (
        "duck",
        rf"{_inflect('duck dodge')}|{_inflect('dip')} down|under (?:something|an? (?:\w+ )?\w+)|underneath",
    ),
    ("zombie", rf"zombies?|undead|living dead|{_inflect('lurch stagger')}"),
    ("sneak", rf"{_inflect('sneak')}|sneaky|sneakily|stealth\w*|{_inflect('creep prowl')}|tip-?toe\w*"),
    ("sneak", r"not to be heard|nobody notices"),
    ("fall", rf"{_inflect('fall slip trip crash')}|banana|los\w+ {_OWN} (?:footing|balance)"),
    (
        "fall",
        rf"{_inflect('drop')}(?: (?!low)\w+)? to the (?:floor|ground)"
        rf"|{_inflect('land')}[\w ]+(?:face down|stomach)",
    ),
    ("get up", rf"{_inflect('get')} up|{_inflect('stand')} up|{_inflect('push')} (?:up|\w+sel\w+ up)"),
    ("get up", rf"{_inflect('rise climb push')} [\w ]*(?:from|off) [\w ]*?(?:floor|ground|lying|position)"),
    (
        "get up",
        rf"{_inflect('get')}[\w ]*(?:on|to) {_OWN} feet|(?:up|get|gets|getting) off the (?:floor|ground)",
    ),
    ("get up", rf"{_inflect('lie')}[\w ]+ and [\w ]*{_inflect('rise')}"),
    ("balance", rf"(?:on )?one leg(?:ged)?|{_inflect('balance')}|pistol squat|on one foot"),
    ("squat", rf"{_inflect('squat crouch scoop kneel')}|{_inflect('pick')}[\w ]* up|{_inflect('bend')} down"),
    ("squat", rf"{_inflect('lift')} an object|{_inflect('reach')} down"),
    (
        "bow",
        rf"{_inflect('bow')}|{_inflect('bend')} (?:over|(?:far )?forward|at the waist)"
        rf"|{_inflect('tilt nod')} [\w ]*(?:torso|body)",
    ),
    (
        "bow",
        rf"{_inflect('bend lean')} {_OWN} (?:upper body|torso|trunk)"
        rf"|{_inflect('lower')} {_OWN} head and back",
    ),
    ("call", rf"{_inflect('call shout yell')}|(?:to|around|at) {_OWN} mouth"),
    ("guide", rf"{_inflect('guide usher invite point indicate')}|{_inflect('direct')} (?:someone|a guest)"),
    ("guide", rf"{_inflect('show')} [\w ]*the way|this way please|{_inflect('lead')} the way"),
    ("guide", rf"{_inflect('present')} something|{_inflect('hold extend')} out {_OWN}"),
    (
        "greet",
        rf"{_inflect('greet respond')}|good-?bye|bye(?:[ -]bye)?|farewell|hello|{_inflect('answer')} a call",
    ),
    ("greet", rf"{_inflect('see')} someone off|get [\w' ]*attention"),
    ("wave", rf"{_inflect('wave')}|{_inflect('shake')}{_TO_HAND}|{_inflect('signal')} for help"),
    ("wave", rf"{_inflect('move')} (?:{_OWN} )?raised (?:{_SIDE} )?{_HAND}"),
    (
        "raise",
        rf"{_inflect('raise lift')}{_TO_HAND}|{_inflect('raise lift')} (?:it|them)"
        rf"|{_inflect('put hold stick stretch reach bring throw swing fling move extend')}{_TO_HAND}"
        rf"(?:\s+(?!and\b)\w+){{0,3}}?\s+{_UP}"
        rf"|{_inflect('put hold stick stretch reach bring throw swing fling')} (?:\w+ )?{_UP} "
        rf"(?:with )?(?:{_OWN} )?(?:{_SIDE} )?{_HAND}"
        rf"|(?:{_SIDE} |both |{_OWN} )*{_HAND} (?:is |are )?(?:raised|held (?:up|high)|up|in the air)"
        rf"|raised (?:{_SIDE} )?{_HAND}|{_inflect('volunteer surrender cheer')}",
    ),
    ("signal", rf"(?:arm |hand )?signals?|{_inflect('signal gesture')}"),
    (
        "jump",
        rf"{_inflect('jump leap hop bounce skip bound')}|hurdles?|{_inflect('spring')} (?:up|through|off)",
    ),
    ("jump", rf"{_inflect('rotate turn spin twirl twist')}[\w ]* (?:in|through) the air"),
    (
        "run",
        rf"{_inflect('run jog sprint trot')}(?: (?:steps?|strides?))?|(?:top|high|full) speed"
        rf"|{_inflect('take')} off",
    ),
    ("run", rf"{_inflect('race dash bolt rush charge hurry storm')}|{_inflect('speed')} up"),
    ("spin", rf"{_inflect('spin twirl whirl pivot')}|pirouettes?"),
    ("stop", rf"{_inflect('stop halt freeze brake')}|standstill"),
    (
        "walk",
        rf"{_inflect('walk stroll hobble trudge plod shuffle march pace amble strut swagger')}"
        rf"|{_inflect('parade totter toddle')}"
        rf"|{_inflect('wander roam hike limp advance retreat stomp stumble')}"
        rf"|{_inflect('back')} (?:away|up|off)"
        rf"|{_OWN} way {_AHEAD}|on foot|one foot (?:after|in front of) the other"
        rf"|{_inflect('drag')} (?:{_OWN} feet|\w+sel\w+)|(?:uneven|bumpy) \w+",
    ),
    (
        "step",
        rf"{_NO_HEAD}{_inflect('stride step head move go travel')}(?: \w+ly)? (?:{_AHEAD}|backwards?|back"
        rf"|{_SIDE}|diagonally|sideways|to {_OWN})|in reverse|steps?|strides?",
    ),
    ("climb", rf"{_inflect('climb')}"),
    (
        "turn",
        rf"{_inflect('turn curve veer bear bank round circle rotate drift')}"
        rf"|{_inflect('change')}[\w ]*? directions?"
        r"|corners?|(?:a|the) bend|arcs?|(?:quarter|half|semi)[ -]?circle|circles?"
        r"|(?:counter-?|anti-?)?clockwise",
    ),
    ("sit", rf"{_inflect('sit')}|{_inflect('lie')} down"),
    (
        "stand",
        rf"{_inflect('stand wait idle fidget sway')}|motionless|{_inflect('shift')} {_OWN} weight"
        rf"|{_inflect('stay remain')} (?:\w+ )?(?:in|still|there|where)|(?:does|do|doing) nothing"
        rf"|without moving",
    ),
)
"""Actions and the phrases that name them, those that claim words first standing first."""

ACTION_NAMES = tuple(dict.fromkeys(name for name, _ in _ACTIONS if name != "step"))
"""All that a reading may name."""

_OVERLOOKED = re.compile("|".join(rf"\b(?:{pattern})" for pattern in _NO_ACTION))
_LEXICON = tuple((name, re.compile(rf"\b(?:{pattern})\b")) for name, pattern in _ACTIONS)
_CLOCKWISE = re.compile(r"\b(counter|anti)?[ -]?clockwise\b")
_WITH_SIDE = re.compile(
    rf"\b(?P<side>left|right)(?:wards?|hand|side)?\b(?P<rest>(?:\s+(?:and|or)\s+(?:left|right))?\s+{_PART})?"
)
_BOTH = re.compile(
    rf"\b(?:both|two|{_OWN})\s+(?:(?:raised|open|outstretched)\s+)?(?:hands|arms|wrists|fists)\b|\bhands up\b"
)
_BACKWARD = re.compile(
    rf"\bbackwards?\b|\bin reverse\b|\b{_inflect('retreat')}\b|\b{_inflect('back')} (?:away|up|off)\b"
    rf"|\b(?:{_inflect('walk step move pace go')}|steps) back\b"
)
_FORWARD = re.compile(r"\b(?:forwards?|ahead|straight on|onwards?)\b")


@dataclass(frozen=True)
class Reading:
    """What a caption says.

    Attributes:
        actions: out of `ACTION_NAMES`.
        hands: "left", "right", both of them, or "both" for "both hands" and for hands or arms without a side.
        directions: "left", "right", "backward", "forward": of the movement, not of a hand or foot.
    """

    actions: frozenset[str]
    hands: frozenset[str]
    directions: frozenset[str]


def read_caption(caption: str) -> Reading:
    """Read a sentence in English; one that says nothing of motion gives empty sets.

    "stand" is only named by a caption that names nothing else: who waves while standing, waves. Who steps
    or moves along walks, unless it is part of a run, a jump or a crawl.
    """
    text = " ".join(caption.lower().replace("’", "'").split())
    text = _OVERLOOKED.sub(" ; ", text)
    hands, directions = _sides(text)
    named = set()
    rest = text
    for name, pattern in _LEXICON:
        rest, found = pattern.subn(" ; ", rest)
        if found:
            named.add(name)
    if "step" in named:
        named.remove("step")
        if not named & {"run", "jump", "crawl"}:
            named.add("walk")
    if len(named) > 1:
        named.discard("stand")
    return Reading(frozenset(named), hands, directions)


def _sides(text: str) -> tuple[frozenset[str], frozenset[str]]:
    hands, directions = set(), set()
    for match in _WITH_SIDE.finditer(text):
        part = match.group("rest")
        if part is None and re.search(rf"\bwith (?:{_OWN} )?$", text[: match.start()]):
            hands.add(match.group("side"))
        elif part is None:
            directions.add(match.group("side"))
        elif re.search(_HAND, part):
            hands.add(match.group("side"))
            if re.search(r"\b(?:left|right)\b", part):
                hands |= {"left", "right"}
    if not hands and _BOTH.search(text):
        hands.add("both")
    for match in _CLOCKWISE.finditer(text):
        directions.add("left" if match.group(1) else "right")
    if _BACKWARD.search(text):
        directions.add("backward")
    if _FORWARD.search(text):
        directions.add("forward")
    return frozenset(hands), frozenset(directions)
