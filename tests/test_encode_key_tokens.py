"""The rule of key tokens on token sequences alone."""

from __future__ import annotations

from itertools import chain

from tltrain.encode import key_positions, key_weight


def test_key_positions_of_the_paper_s_figure() -> None:
    details, keywords = ["_get", "P", "aper", "Details"], ["_get", "P", "apers", "By", "Key", "words"]
    finish = ["_finish"]
    names = [details, keywords, finish]
    ids = {token: number for number, token in enumerate(dict.fromkeys(chain(*names)))}
    coded = [[ids[token] for token in name] for name in names]
    found = {
        name[0] + name[-1]: [name[place] for place in key_positions(row, [other for other in coded if other != row])]
        for name, row in zip(names, coded, strict=True)
    }
    assert found == {
        "_getDetails": ["_get", "aper"],
        "_getwords": ["_get", "apers"],
        "_finish_finish": ["_finish"],
    }
    assert [key_weight(24, 2), key_weight(19, 2), key_weight(50, 1)] == [9, 9, 9]
    assert [key_weight(24, 2, 100), key_weight(19, 2, 100), key_weight(50, 1, 100)] == [12, 9.5, 50]


def test_key_positions() -> None:
    assert key_positions([1, 2], []) == [0]
    assert key_positions([1, 2], [[3, 2]]) == [0]
    assert key_positions([1, 2], [[1, 2, 3]]) == [0, 2]  # the token right after the name
    assert key_positions([1, 2, 3], [[1, 2]]) == [0, 2]
    assert key_positions([1, 2, 3, 4], [[1], [1, 2, 5], [1, 2, 3, 6]]) == [0, 1, 2, 3]
    assert key_positions([1, 2], [[1, 2]]) == [0]
    assert key_positions([], [[1]]) == []


def test_key_weight() -> None:
    assert key_weight(10, 4) == 2.5
    assert key_weight(3, 6) == 1
    assert key_weight(10, 0) == 1
    assert key_weight(10, 1) == 9
