"""From a text to its windows and tokens: markers, masks, what is left out, and where each token stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from pipeline.errors import IndexFormatError
from pipeline.index.xtr.encoder import ModelEncoder, Recipe
from pipeline.index.xtr.minilm import between_words

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[Q]", "[D]"]
WORDS = ["ship", "berth", "fee", "é", "(", ")", ".", "def"]
NUMBER = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}


def tokenizer() -> Tokenizer:
    made = Tokenizer(WordLevel(NUMBER, unk_token="[UNK]"))
    made.pre_tokenizer = BertPreTokenizer()
    made.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return made


class Model:
    """A token's vector says its number and its place in its window. Remembers what it was given."""

    dimension = 3

    def __init__(self) -> None:
        self.windows: list[list[int]] = []
        self.masks: list[list[int]] = []

    def run(self, windows: Sequence[Any], masks: Sequence[Any]) -> list[np.ndarray]:
        self.windows += [window.tolist() for window in windows]
        self.masks += [mask.tolist() for mask in masks]
        return [
            np.stack([window, np.arange(len(window)), np.ones(len(window))], axis=1).astype(np.float32) for window in windows
        ]


def encoder(model: Any = None, **recipe: Any) -> ModelEncoder:
    given = {"name": "xtr/test", "window": 6, "windows": 2, "query_window": 8, **recipe}
    return ModelEncoder(Recipe(**given), "digest", tokenizer(), model or Model())


def spelled(windows: Sequence[Sequence[int]]) -> list[str]:
    words = {number: word for word, number in NUMBER.items()}
    return [" ".join(words[one] for one in window) for window in windows]


def test_tokens_say_where_they_stand_in_bytes() -> None:
    made = encoder().encode(["é ship (fee)", "", "berth"])
    assert made.offsets.tolist() == [0, 5, 5, 6]
    assert made.tokens == ["é", "ship", "(", "fee", ")", "berth"]
    assert made.spans.tolist() == [[0, 2], [3, 7], [8, 9], [9, 12], [12, 13], [0, 5]]
    assert np.allclose(np.linalg.norm(made.vectors, axis=1), 1) and made.vectors.dtype == np.float32


def test_a_long_text_is_read_in_windows_up_to_as_many_as_it_may_have() -> None:
    model = Model()
    made = encoder(model).encode(["ship berth fee ship berth fee ship berth fee ship"])
    assert spelled(model.windows) == ["[CLS] ship berth fee ship [SEP]", "[CLS] berth fee ship berth [SEP]"]
    assert made.tokens == ["ship", "berth", "fee", "ship", "berth", "fee", "ship", "berth"]
    assert made.spans[4:6].tolist() == [[20, 25], [26, 29]]


def test_a_window_depends_on_its_text_alone() -> None:
    one, other = encoder(), encoder()
    together = one.encode(["ship fee", "berth", "ship"])
    alone = [other.encode([text]).vectors for text in ("ship fee", "berth", "ship")]
    assert together.vectors.tobytes() == b"".join(rows.tobytes() for rows in alone)


def test_markers_stand_after_the_first_separator_and_count_where_specials_do() -> None:
    model = Model()
    made = encoder(model, document_marker=NUMBER["[D]"], query_marker=NUMBER["[Q]"], keeps_special=True)
    documents, query = made.encode(["ship berth fee ship"]), made.encode_query("ship fee")
    assert spelled(model.windows) == ["[CLS] [D] ship berth fee [SEP]", "[CLS] [D] ship [SEP]", "[CLS] [Q] ship fee [SEP]"]
    assert documents.tokens[:3] == ["[CLS]", "[D]", "ship"] and query.tokens == ["[CLS]", "[Q]", "ship", "fee", "[SEP]"]
    assert documents.spans[:3].tolist() == [[-1, -1], [-1, -1], [0, 4]]


@pytest.mark.parametrize("attends", [False, True])
def test_short_queries_are_filled_up_with_masks_where_the_recipe_says_so(attends: bool) -> None:
    model = Model()
    made = encoder(model, mask=NUMBER["[MASK]"], attends_masks=attends, keeps_special=True).encode_query("ship fee")
    assert spelled(model.windows) == ["[CLS] ship fee [SEP] [MASK] [MASK] [MASK] [MASK]"]
    assert model.masks == [[1, 1, 1, 1, *[int(attends)] * 4]]
    assert made.tokens[-1] == "[MASK]" and made.spans[-1].tolist() == [-1, -1] and len(made.vectors) == 8


def test_a_long_query_is_cut_and_still_ends_as_it_should() -> None:
    model = Model()
    made = encoder(model, query_window=4).encode_query("ship berth fee ship berth fee ship berth")
    assert spelled(model.windows) == ["[CLS] ship berth [SEP]"] and made.tokens == ["ship", "berth"]


def test_what_stands_between_words_does_not_count_unless_there_is_nothing_else() -> None:
    skipped = between_words(tokenizer())
    assert NUMBER["("] in skipped and NUMBER["é"] not in skipped and NUMBER["def"] not in skipped
    made = encoder(skipped=skipped, skips_in_queries=True)
    assert made.encode(["def ship (fee).", "(.)"]).tokens == ["def", "ship", "fee"]
    assert made.encode(["(.)"]).offsets.tolist() == [0, 0]
    assert made.encode_query("ship (").tokens == ["ship"] and made.encode_query("( .").tokens == ["(", "."]
    assert encoder(skipped=skipped).encode_query("ship (").tokens == ["ship", "("]


def test_a_lone_surrogate_is_a_text_like_any_other() -> None:
    assert encoder().encode(["\ud800 ship"]).spans[-1].tolist() == [2, 6]


def test_a_model_that_gives_nonsense_is_refused() -> None:
    class Broken(Model):
        def run(self, windows: Sequence[Any], masks: Sequence[Any]) -> list[np.ndarray]:
            return [np.full((len(window), 3), np.nan, np.float32) for window in windows]

    with pytest.raises(IndexFormatError, match="zero or not finite"):
        encoder(Broken()).encode(["ship"])
