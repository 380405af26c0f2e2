"""Things by name: found, listed, never overwritten, and missed with a helpful word."""

import pytest

from mmretrieval.errors import UnknownNameError
from mmretrieval.registry import Registry


def shapes(listing=None):
    registry = Registry("shape", listing)

    @registry.register()
    def circle():
        return "round"

    registry.register("big-square")(dict)
    return registry, circle


def test_registered_under_its_own_or_a_given_name():
    registry, circle = shapes()
    assert registry.get("circle") is circle and circle() == "round"
    assert registry.get("big-square") is dict


def test_names_are_sorted_and_counted():
    registry, _ = shapes()
    assert registry.names() == ["big-square", "circle"]
    assert len(registry) == 2
    assert "circle" in registry and "square" not in registry


def test_a_name_cannot_be_taken_twice():
    registry, circle = shapes()
    with pytest.raises(ValueError) as caught:
        registry.register("circle")(int)
    assert str(caught.value) == f"shape 'circle' is registered twice: {circle} and <class 'int'>"
    assert registry.get("circle") is circle


@pytest.mark.parametrize(
    ("name", "listing", "message"),
    [
        ("circel", None, "unknown shape 'circel'. Did you mean 'circle'? Known: big-square, circle."),
        ("hexagon", None, "unknown shape 'hexagon'. Known: big-square, circle."),
        (
            "circel",
            "'mmretrieval shapes' lists",
            "unknown shape 'circel'. Did you mean 'circle'? 'mmretrieval shapes' lists all 2.",
        ),
    ],
)
def test_an_unknown_name(name, listing, message):
    registry, _ = shapes(listing)
    with pytest.raises(UnknownNameError) as caught:
        registry.get(name)
    assert str(caught.value) == message


def test_registries_are_separate():
    first, second = Registry("shape"), Registry("shape")
    first.register("circle")(int)
    assert "circle" not in second
