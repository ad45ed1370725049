"""The operating point: text in, bounds held, settings over what an index says of itself."""

from __future__ import annotations

import pytest

from pipeline.config import SearchSettings
from pipeline.errors import ConfigError, QueryError
from pipeline.index.dense.families import FAMILIES
from pipeline.index.dense.operating_point import OperatingPoint, first_point, parse, thorough, under_settings

IVF, HNSW, FLAT = FAMILIES["ivf_sq8"], FAMILIES["hnsw"], FAMILIES["flat"]


@pytest.mark.parametrize(
    ("family", "text", "k_factor", "expected"),
    [
        (IVF, "", None, OperatingPoint(nprobe=8, k_factor=2.0)),
        (IVF, "nprobe=64", None, OperatingPoint(nprobe=64, k_factor=2.0)),
        (IVF, " nprobe = 3 ,", 7, OperatingPoint(nprobe=3, k_factor=7)),
        (HNSW, "efSearch=32", 1, OperatingPoint(ef_search=32, k_factor=1)),
        (FLAT, "", None, OperatingPoint()),
    ],
)
def test_text_changes_what_it_names(family: object, text: str, k_factor: float | None, expected: OperatingPoint) -> None:
    default = first_point(family, 100)  # type: ignore[arg-type]
    point = parse(text, k_factor, family=family, nlist=100, default=default)  # type: ignore[arg-type]
    assert point == expected
    assert parse(point.parameters, point.k_factor, family=family, nlist=100, default=default) == point  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    "nprobe nprobe= nprobe=x nprobe=0 nprobe=101 nprobe=-1 nprobe=1.5 nprobe=0.07*nlist nprobe=１ nprobe=1e2 nprobe=1,nprobe=2 "
    "efSearch=3 quantizer_efSearch=3 k=3 nprobe=99999999999999999999 =3".split(),
)
def test_text_that_faiss_would_misread_is_refused(text: str) -> None:
    with pytest.raises(QueryError):
        parse(text, None, family=IVF, nlist=100, default=first_point(IVF, 100))


@pytest.mark.parametrize("k_factor", [0, 0.99, -1, 1001, float("nan"), float("inf")])
def test_a_k_factor_out_of_range_is_refused(k_factor: float) -> None:
    with pytest.raises(QueryError, match="k-factor"):
        parse("", k_factor, family=IVF, nlist=100, default=first_point(IVF, 100))


@pytest.mark.parametrize(("family", "text"), [(FLAT, "nprobe=3"), (HNSW, "nprobe=3"), (IVF, "efSearch=3")])
def test_a_parameter_of_another_family_is_refused_by_name(family: object, text: str) -> None:
    with pytest.raises(QueryError, match="is of the family"):
        parse(text, None, family=family, nlist=100, default=first_point(family, 100))  # type: ignore[arg-type]


def test_settings_take_the_place_of_what_the_index_says_where_they_suit_it() -> None:
    settings = SearchSettings(default_nprobe=500, hnsw_efSearch=77, refine_k_factor=3.0)
    point = under_settings(first_point(IVF, 100), settings, family=IVF, nlist=100)
    assert point == OperatingPoint(nprobe=100, k_factor=3.0)
    assert under_settings(first_point(HNSW, 0), settings, family=HNSW, nlist=0) == OperatingPoint(ef_search=77, k_factor=3.0)
    unset = under_settings(first_point(IVF, 100), SearchSettings(), family=IVF, nlist=100)
    assert unset == first_point(IVF, 100)
    with pytest.raises(ConfigError, match="refine_k_factor"):
        under_settings(unset, SearchSettings(refine_k_factor=0.5), family=IVF, nlist=100)


def test_a_thorough_point_tries_harder_in_every_way() -> None:
    assert thorough(OperatingPoint(nprobe=8, k_factor=2), 20) == OperatingPoint(nprobe=20, k_factor=64)
    assert thorough(OperatingPoint(ef_search=8), 0) == OperatingPoint(ef_search=1024, k_factor=64)
