"""What is said about a scene: one English sentence, and the meaning it carries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmretrieval.toyworld.scene import Scene, Thing
from mmretrieval.toyworld.vocabulary import ACTIONS, COLOUR_WORDS, GAIT_VERBS, KINDS, MOVE, SETTINGS, STAY

SHORTEST, LONGEST = 6, 16
"""Words of a sentence."""

BESIDE = {
    "beside": ("next to", "beside", "near", "close to"),
    "above": ("below",),  # the other thing is above, so the main thing is below it
    "below": ("above",),
}

LEADS = ("there is", "we can see", "you can see", "the video shows", "here we see")


@dataclass(frozen=True)
class Caption:
    """A sentence and its meaning.

    Attributes:
        text: The sentence, in lower case and without punctuation.
        subject: Kind, colour and action of the main thing.
        other: Relation, kind, colour and action of the second thing; empty when there is none.
        setting: The setting if the sentence names it, else None.
    """

    text: str
    subject: tuple[str, str, str]
    other: tuple[str, ...]
    setting: str | None

    @property
    def meaning(self) -> tuple:
        """Everything the sentence says, as one key."""
        return self.subject, self.other, self.setting

    def agrees(self, other: Caption) -> bool:
        """Whether one scene could be described by both sentences."""
        return (
            self.subject == other.subject
            and (self.other == other.other or not self.other or not other.other)
            and (self.setting == other.setting or self.setting is None or other.setting is None)
        )


def write_caption(rng: np.random.Generator, scene: Scene) -> Caption:
    """Write a sentence of 6 to 16 words about a scene; its setting is left out in one of seven."""
    setting = scene.setting if rng.random() < 0.86 else None
    text = _sentence(rng, scene, setting)
    tries = 1
    while not SHORTEST <= len(text.split()) <= LONGEST:
        if tries == 20 and len(text.split()) > LONGEST:
            setting = None  # two busy things and a place do not fit into one sentence
        text = _sentence(rng, scene, setting)
        tries += 1
    main, other = scene.main, scene.other
    second = (scene.relation, other.kind, other.colour, other.action) if other else ()
    return Caption(text, (main.kind, main.colour, main.action), second, setting)


def _word(rng: np.random.Generator, words: tuple[str, ...], plain: float) -> str:
    """Draw a paraphrase: the plain word with probability ``plain``, else any of the others."""
    if len(words) == 1 or rng.random() < plain:
        return words[0]
    return words[1 + int(rng.integers(len(words) - 1))]


def article(noun_phrase: str) -> str:
    """Return "a" or "an", whichever goes before the phrase."""
    return "an" if noun_phrase[0] in "aeiou" else "a"


def name_thing(rng: np.random.Generator, thing: Thing) -> str:
    """Name a thing with its colour and an article: "an orange cat", "a person in red"."""
    noun = _word(rng, KINDS[thing.kind].words, 0.7)
    colour = _word(rng, COLOUR_WORDS[thing.colour], 0.9)
    phrase = f"{noun} in {colour}" if thing.kind == "person" else f"{colour} {noun}"
    return f"{article(phrase)} {phrase}"


def _predicate(rng: np.random.Generator, thing: Thing, target: str) -> tuple[str, str]:
    """Say what a thing does, as in "runs to the left" and as in "running to the left"."""
    action, gait = ACTIONS[thing.action], KINDS[thing.kind].gait
    fixed = [phrase for phrase in action.phrases if gait == "walk" or not phrase.startswith("runs/")]
    if action.gait_tails and (not fixed or rng.random() < 0.5):
        verbs = MOVE if rng.random() < 0.4 else GAIT_VERBS[gait]
        verb = verbs[int(rng.integers(len(verbs)))]
        phrase = f"{verb} {action.gait_tails[int(rng.integers(len(action.gait_tails)))]}"
    else:
        phrase = fixed[int(rng.integers(len(fixed)))]
    verb, _, tail = phrase.replace("{}", target).partition(" ")
    does, doing = verb.split("/")
    return f"{does} {tail}", f"{doing} {tail}"


def _sentence(rng: np.random.Generator, scene: Scene, setting: str | None) -> str:
    """Put one sentence together; any of five shapes."""
    main, other = scene.main, scene.other
    subject = name_thing(rng, main)
    target = name_thing(rng, other) if other else ""
    does, doing = _predicate(rng, main, target)
    where = _word(rng, SETTINGS[setting], 0.45) if setting else ""
    relation = ""
    if scene.relation in BESIDE:
        words = BESIDE[scene.relation]
        relation = f"{words[int(rng.integers(len(words)))]} {target}"
    shape = rng.choice(("plain", "where first", "lead", "phrase", "progressive"), p=(0.36, 0.16, 0.2, 0.14, 0.14))
    if scene.relation == "while" and other.action != STAY:
        second, seconding = _predicate(rng, other, "")
        if shape in ("lead", "phrase"):
            relation = f"and {target} {seconding}"
        else:
            relation = f"{('while', 'as')[int(rng.integers(2))]} {target} {second}"
    parts = {
        "plain": (subject, does, relation, where),
        "where first": (where, subject, does, relation),
        "lead": (LEADS[int(rng.integers(len(LEADS)))], subject, doing, relation, where),
        "phrase": (subject, doing, relation, where),
        "progressive": (subject, "is", doing, relation, where),
    }[str(shape)]
    return " ".join(" ".join(part for part in parts if part).split())
