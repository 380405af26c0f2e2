import pickle

import pytest

from mmretrieval.errors import ModelError, QueryError
from mmretrieval.media.tokens import Tokenizer

CAPTIONS = [
    "a dog jumps over a red ball", "the cat falls slowly", "a fuzzy cat appears", "Two dogs run!", "a bus moves left",
] * 4  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(CAPTIONS, 300)


def test_words_are_single_tokens_and_come_back(tokenizer):
    ids = tokenizer.encode("A dog, JUMPS over the ball.")
    assert len(ids) == 6 and tokenizer.decode(ids) == "a dog jumps over the ball"
    assert all(2 <= token < tokenizer.size for token in ids)


def test_special_tokens_have_fixed_numbers(tokenizer):
    assert (tokenizer.pad_id, tokenizer.unknown_id) == (0, 1)
    assert tokenizer.encode("жук")[1:] == [1, 1, 1]


def test_typos_fall_into_known_letters(tokenizer):
    assert tokenizer.unknown_id not in tokenizer.encode("a dgo jmups over qxzk 7")
    assert tokenizer.decode(tokenizer.encode("a dgo")) == "a dgo"


def test_same_captions_same_vocabulary(tokenizer):
    assert Tokenizer.train(reversed(CAPTIONS), 300).to_json() == tokenizer.to_json()


def test_vocabulary_is_no_larger_than_asked():
    assert Tokenizer.train(CAPTIONS, 64).size == 64


def test_json_and_pickle_keep_everything(tokenizer):
    for copy in (Tokenizer.from_json(tokenizer.to_json()), pickle.loads(pickle.dumps(tokenizer))):
        assert copy.size == tokenizer.size
        assert copy.encode("a dog xyzzy ж") == tokenizer.encode("a dog xyzzy ж")


@pytest.mark.parametrize("caption", ["red", "a dgo with a cat", "dogss", "DOG", "xyzzy dog", "bus"])
def test_captions_with_a_known_word_pass(tokenizer, caption):
    tokenizer.check(caption)


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("", "the caption is empty: say in a few words what is to be seen."),
        (" \t", "the caption is empty: say in a few words what is to be seen."),
        ("xyzzy", "the caption 'xyzzy' has no word this model knows. Did you mean 'fuzzy'?"),
        ("dgo", "the caption 'dgo' has no word this model knows. Did you mean 'dog'?"),
        ("жук", "the caption 'жук' has no word this model knows. Use words like those of its training captions."),
        ("🐶 !", "the caption '🐶 !' has no word this model knows. Use words like those of its training captions."),
        ("q w", "the caption 'q w' has no word this model knows. Use words like those of its training captions."),
    ],
)
def test_captions_of_unknown_words(tokenizer, caption, message):
    with pytest.raises(QueryError) as caught:
        tokenizer.check(caption)
    assert str(caught.value) == message


def test_languages_without_spaces():
    tokenizer = Tokenizer.train(["狗跳过红球", "猫在跑", "狗"] * 3, 100)
    tokenizer.check("狗")
    tokenizer.check("红球")


def test_broken_vocabulary():
    with pytest.raises(ModelError, match="^the vocabulary cannot be read, it is no tokenizer.json: "):
        Tokenizer.from_json("{}")
