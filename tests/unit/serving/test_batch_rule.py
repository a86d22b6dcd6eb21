"""What an engine's batches may not be: choices that contradict each other are refused with both names."""

from __future__ import annotations

import pytest

from simulator.serving.batch_rule import ENGINES, BatchRule


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"chunked": True, "prompts_apart": True}, "prompts_apart with chunked"),
        ({"chunked": True, "padded_budget": True}, "padded_budget has no effect"),
        ({"max_sequences": 8, "token_budget": 7}, "token_budget 7 is less than max_sequences 8"),
        ({"until_done": True}, "prefix_caching has no effect"),
        ({"watermark_fraction": 1.0}, "outside"),
    ],
)
def test_choices_that_contradict_each_other_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        BatchRule(**choices)


def test_no_engine_cuts_prompts_and_keeps_them_apart():
    assert not any(rule.chunked and rule.prompts_apart for rule in ENGINES.values())
