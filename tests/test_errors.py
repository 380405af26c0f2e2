"""One family of errors, each also the standard type it specialises."""

import inspect

import pytest

from mmretrieval import errors

FAMILY = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.MMRetrievalError) and kind is not errors.MMRetrievalError
]


def test_the_family():
    standard = {kind.__name__: kind.__bases__[1] for kind in FAMILY}
    assert (
        standard.items()
        >= {
            "UnknownNameError": LookupError,
            "RecipeError": ValueError,
            "ManifestError": ValueError,
            "MediaError": ValueError,
            "QueryError": ValueError,
            "ModelError": ValueError,
            "TrainingError": ArithmeticError,
            "CollectionError": ValueError,
            "StorageError": OSError,
            "DependencyError": ImportError,
        }.items()
    )


@pytest.mark.parametrize("kind", FAMILY)
def test_caught_as_the_family_and_as_the_standard_type_with_its_plain_message(kind):
    for caught_as in (errors.MMRetrievalError, kind.__bases__[1]):
        with pytest.raises(caught_as) as caught:
            raise kind("clips/0213.mp4: asked for 4.0–7.0 s, the video ends at 5.2 s.")
        # a plain LookupError subclass such as KeyError would put quotes around it
        assert str(caught.value) == "clips/0213.mp4: asked for 4.0–7.0 s, the video ends at 5.2 s."


def test_an_error_without_a_message_has_none():
    assert str(errors.MediaError()) == ""


def test_did_you_mean():
    assert errors.did_you_mean("x3d-s", ["tsm", "x3d_s"]) == " Did you mean 'x3d_s'?"
    assert errors.did_you_mean("zebra", ["tsm", "x3d_s"]) == ""
    assert errors.did_you_mean("anything", []) == ""
