"""The words of the toy world: its things, colours, settings and actions, each with everyday paraphrases.

Pure data. The first word of each list is the plain one and the commonest; the rest are drawn now and then, so that a
model has to learn that a puppy is a dog.
"""

from __future__ import annotations

from dataclasses import dataclass

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 34, 40),
    "orange": (246, 136, 22),
    "yellow": (250, 224, 60),
    "green": (40, 160, 62),
    "blue": (40, 92, 222),
    "purple": (142, 52, 186),
    "white": (246, 246, 246),
    "black": (34, 34, 40),
}

COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "crimson"),
    "orange": ("orange",),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "blue": ("blue",),
    "purple": ("purple", "violet"),
    "white": ("white", "snow-white"),
    "black": ("black", "jet-black"),
}


@dataclass(frozen=True)
class Kind:
    """A kind of thing: its words, and how it gets about (which decides the verbs it takes)."""

    words: tuple[str, ...]
    gait: str


KINDS: dict[str, Kind] = {
    "dog": Kind(("dog", "puppy", "hound"), "walk"),
    "cat": Kind(("cat", "kitten", "kitty"), "walk"),
    "rabbit": Kind(("rabbit", "bunny"), "walk"),
    "elephant": Kind(("elephant",), "walk"),
    "giraffe": Kind(("giraffe",), "walk"),
    "person": Kind(("person", "figure"), "walk"),
    "robot": Kind(("robot", "android"), "walk"),
    "turtle": Kind(("turtle", "tortoise"), "crawl"),
    "snail": Kind(("snail",), "crawl"),
    "crab": Kind(("crab",), "crawl"),
    "snake": Kind(("snake", "serpent"), "crawl"),
    "bird": Kind(("bird",), "fly"),
    "butterfly": Kind(("butterfly", "moth"), "fly"),
    "plane": Kind(("plane", "airplane", "jet"), "fly"),
    "helicopter": Kind(("helicopter", "chopper"), "fly"),
    "rocket": Kind(("rocket", "spaceship"), "fly"),
    "balloon": Kind(("balloon",), "float"),
    "fish": Kind(("fish",), "swim"),
    "boat": Kind(("boat", "sailboat", "sailing boat"), "sail"),
    "car": Kind(("car", "automobile"), "drive"),
    "bus": Kind(("bus", "coach"), "drive"),
    "truck": Kind(("truck", "lorry"), "drive"),
    "bicycle": Kind(("bicycle", "bike"), "roll"),
    "ball": Kind(("ball", "beach ball"), "roll"),
    "tree": Kind(("tree", "leafy tree"), "slide"),
    "flower": Kind(("flower", "blossom"), "slide"),
    "mushroom": Kind(("mushroom", "toadstool"), "slide"),
    "umbrella": Kind(("umbrella", "parasol"), "slide"),
    "cup": Kind(("cup", "mug"), "slide"),
    "star": Kind(("star",), "slide"),
    "guitar": Kind(("guitar",), "slide"),
    "key": Kind(("key",), "slide"),
}

SETTINGS: dict[str, tuple[str, ...]] = {
    "beach": ("on the beach", "at the beach", "on a sandy beach", "at the seaside"),
    "snow": ("in the snow", "in the snowy mountains", "in a snowy landscape", "on a snowy day"),
    "street": ("on a rainy street", "in the city", "on a city street", "in a rainy city"),
    "meadow": ("in a meadow", "on the grass", "in a grassy field", "in the countryside"),
    "desert": ("in the desert", "among sand dunes", "in a hot desert"),
    "underwater": ("under water", "under the sea", "deep in the ocean", "on the sea floor"),
    "space": ("in space", "in outer space", "among the stars"),
    "room": ("in a room", "in a living room", "indoors", "inside a house"),
}

# A verb is written "runs/running"; {} stands for the thing an action is done to.

GAIT_VERBS: dict[str, tuple[str, ...]] = {
    "walk": ("runs/running", "walks/walking"),
    "crawl": ("crawls/crawling", "creeps/creeping"),
    "fly": ("flies/flying",),
    "float": ("floats/floating", "drifts/drifting"),
    "swim": ("swims/swimming",),
    "sail": ("sails/sailing",),
    "drive": ("drives/driving", "rolls/rolling"),
    "roll": ("rolls/rolling",),
    "slide": ("slides/sliding", "glides/gliding"),
}

MOVE: tuple[str, ...] = ("moves/moving", "goes/going")


@dataclass(frozen=True)
class Action:
    """What a thing can do.

    Attributes:
        phrases: A verb and the words after it.
        gait_tails: Words that may follow any verb of motion, the thing's own gait included.
        linked: Whether it is done to another thing.
        reverse: The action that looks the same with time running backwards, if there is one.
    """

    phrases: tuple[str, ...] = ()
    gait_tails: tuple[str, ...] = ()
    linked: bool = False
    reverse: str | None = None


ACTIONS: dict[str, Action] = {
    "move_left": Action(gait_tails=("to the left", "to the left", "from right to left"), reverse="move_right"),
    "move_right": Action(gait_tails=("to the right", "to the right", "from left to right"), reverse="move_left"),
    "rise": Action(
        ("rises/rising", "rises/rising up", "goes/going up", "moves/moving up", "floats/floating upwards"),
        reverse="fall",
    ),
    "fall": Action(
        ("falls/falling", "falls/falling down", "goes/going down", "drops/dropping down", "sinks/sinking downwards"),
        reverse="rise",
    ),
    "grow": Action(
        ("grows/growing", "grows/growing bigger", "gets/getting bigger", "becomes/becoming larger"),
        reverse="shrink",
    ),
    "shrink": Action(
        ("shrinks/shrinking", "gets/getting smaller", "shrinks/shrinking in size", "becomes/becoming smaller"),
        reverse="grow",
    ),
    "appear": Action(
        ("appears/appearing", "appears/appearing out of nowhere", "comes/coming into view", "shows/showing up"),
        reverse="disappear",
    ),
    "disappear": Action(
        ("disappears/disappearing", "vanishes/vanishing", "fades/fading away", "disappears/disappearing from view"),
        reverse="appear",
    ),
    "approach": Action(
        ("approaches/approaching {}", "comes/coming closer to {}"),
        gait_tails=("towards {}",),
        linked=True,
        reverse="leave",
    ),
    "leave": Action(
        ("leaves/leaving {}", "gets/getting further from {}"),
        gait_tails=("away from {}", "away from {}"),
        linked=True,
        reverse="approach",
    ),
    "spin_clockwise": Action(
        ("spins/spinning clockwise", "turns/turning clockwise", "rotates/rotating clockwise"),
        reverse="spin_counterclockwise",
    ),
    "spin_counterclockwise": Action(
        ("spins/spinning counterclockwise", "turns/turning counterclockwise", "rotates/rotating anticlockwise"),
        reverse="spin_clockwise",
    ),
    "tip_over": Action(
        ("tips/tipping over", "topples/toppling over", "keels/keeling over"),
        reverse="stand_up",
    ),
    "stand_up": Action(
        ("stands/standing up", "gets/getting back up", "stands/standing upright again"),
        reverse="tip_over",
    ),
    "jump": Action(
        ("jumps/jumping up and down", "hops/hopping on the spot", "bounces/bouncing up and down"),
    ),
    "shake": Action(
        ("shakes/shaking from side to side", "wobbles/wobbling", "trembles/trembling", "shakes/shaking"),
    ),
    "flash": Action(
        ("flashes/flashing on and off", "blinks/blinking on and off", "flickers/flickering"),
    ),
    "jump_over": Action(
        ("jumps/jumping over {}", "leaps/leaping over {}", "hops/hopping over {}"),
        linked=True,
    ),
    "circle": Action(
        ("circles/circling {}", "circles/circling around {}", "moves/moving around {}"),
        linked=True,
    ),
    "chase": Action(
        ("chases/chasing {}", "follows/following {}", "runs/running after {}"),
        linked=True,
    ),
}

STAY = "stay"
"""What a thing does that does nothing: others may, the main thing never."""

PAIRS: tuple[tuple[str, str], ...] = tuple(
    (name, action.reverse)
    for i, (name, action) in enumerate(ACTIONS.items())
    if action.reverse and action.reverse not in list(ACTIONS)[:i]
)
"""Actions that only the order of frames tells apart."""
