from __future__ import annotations

import pytest

from flowcore import BackendError
from flowcore_memory.filters import compile_filter

METADATA = {
    "lang": "en",
    "year": 2020,
    "draft": True,
    "nothing": None,
    "tags": ["a", "b"],
    "author": {"name": "Ada", "born": {"year": 1815}},
    "dotted.key": 1,
}


@pytest.mark.parametrize(
    "filter_dict",
    [
        {"lang": "en"},
        {"year": 2020},
        {"year": 2020.0},
        {"draft": True},
        {"nothing": None},
        {"tags": [["a", "b"]]},
        {"lang": ["de", "en"]},
        {"lang": ("de", "en")},
        {"lang": {"gte": "e", "lt": "f"}},
        {"author.name": "Ada"},
        {"author.born.year": {"gt": 1814, "lte": 1815}},
        {"author.born": [{"year": 1815}]},
        {"dotted.key": 1},
        {"year": {"gte": 2020}, "lang": "en"},
    ],
)
def test_metadata_that_matches(filter_dict):
    matches = compile_filter(filter_dict)

    assert matches is not None
    assert matches(METADATA)


@pytest.mark.parametrize(
    "filter_dict",
    [
        {"lang": "EN"},
        {"year": "2020"},
        {"draft": 1},
        {"dotted.key": True},
        {"missing": None},
        {"tags": ["a", "b"]},
        {"lang": []},
        {"year": {"gt": 2020}},
        {"year": {"lt": 2020}},
        {"year": {"gte": "2020"}},
        {"lang": {"gte": 0}},
        {"draft": {"gte": 0}},
        {"nothing": {"gte": 0}},
        {"missing": {"gte": 0}},
        {"author.name.first": "Ada"},
        {"author.age": 1},
        {"year": {"gte": 2000}, "lang": "de"},
    ],
)
def test_metadata_that_does_not_match(filter_dict):
    matches = compile_filter(filter_dict)

    assert matches is not None
    assert not matches(METADATA)


@pytest.mark.parametrize("filter_dict", [None, {}])
def test_no_condition_means_no_filter(filter_dict):
    assert compile_filter(filter_dict) is None


@pytest.mark.parametrize(
    ("filter_dict", "message"),
    [
        ({"year": {}}, "filter 'year': the range is empty"),
        ({"year": {"min": 1}}, "filter 'year': 'min': 1 is no bound of a range"),
        ({"year": {"gte": None}}, "'gte': None"),
        ({"year": {"gte": True}}, "'gte': True"),
        ({"year": {"gte": float("nan")}}, "'gte': nan"),
        ({"year": {"gte": [1]}}, "use gte, gt, lte or lt with a number or a string"),
    ],
)
def test_a_malformed_filter_is_refused_with_its_key(filter_dict, message):
    with pytest.raises(BackendError, match=message.replace("[", r"\[")):
        compile_filter(filter_dict)


async def test_a_malformed_filter_is_refused_by_a_search_of_an_empty_store(store):
    with pytest.raises(BackendError, match="the range is empty"):
        await store.async_search([1.0], filter_dict={"year": {}})
