"""What others named cannot command the terminal of whoever reads it."""

import pytest

from mmretrieval.shown import count, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ferien 2024 – Süden/海 👨‍👩‍👧 a\u00a0b.mp4", "Ferien 2024 – Süden/海 👨‍👩‍👧 a\u00a0b.mp4"),
        ("new\nline\r\t.mp4", "new\\nline\\r\\t.mp4"),
        ("\x1b]0;title\x07.mp4", "\\x1b]0;title\\x07.mp4"),
        ("\x9b31m", "\\x9b31m"),
        ("gpj.\u202e4pm.mp4", "gpj.\\u202e4pm.mp4"),
        ("one\u2028two", "one\\u2028two"),
        ("bad\udcff.mp4", "bad\\udcff.mp4"),
        (7, "7"),
    ],
)
def test_one_line(text, shown):
    assert one_line(text) == shown


def test_count():
    assert [count(number, "moment") for number in (0, 1, 2)] == ["0 moments", "1 moment", "2 moments"]
