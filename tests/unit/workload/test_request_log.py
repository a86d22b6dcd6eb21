"""Logs of requests in three forms, and the real ones."""

from __future__ import annotations

import gzip

import pytest

from simulator.foundation.errors import TraceError
from simulator.workload.request_log import read_requests


def written(tmp_path, text):
    path = tmp_path / "requests.log"
    path.write_text(text)
    return path


def test_our_own_form(tmp_path):
    path = written(tmp_path, "arrived_s,prompt_tokens,output_tokens\n0.5,10,20\n0.5,11,21\n2,12,1\n")
    table = read_requests(path)
    assert table.arrived_s.tolist() == [0.5, 0.5, 2.0]
    assert table.prompt_tokens.tolist() == [10, 11, 12]
    assert table.output_tokens.tolist() == [20, 21, 1]
    assert table.tier.tolist() == [0, 0, 0]


def test_columns_may_stand_in_any_order_among_others(tmp_path):
    path = written(tmp_path, 'output_tokens,note,arrived_s,prompt_tokens\n20,"a, b",0.5,10\n')
    table = read_requests(path)
    assert (table.arrived_s[0], table.prompt_tokens[0], table.output_tokens[0]) == (0.5, 10, 20)


def test_tiers_are_named(tmp_path):
    path = written(tmp_path, "arrived_s,prompt_tokens,output_tokens,tier\n0,1,1,standard\n1,1,1,premium\n")
    assert read_requests(path, ("premium", "standard")).tier.tolist() == [1, 0]


def test_a_column_of_tiers_needs_tiers_unless_nobody_asks(tmp_path):
    path = written(tmp_path, "arrived_s,prompt_tokens,output_tokens,tier\n0,1,1,premium\n")
    with pytest.raises(TraceError, match="the service has no tiers; expected `tiers` in the scenario"):
        read_requests(path)
    assert read_requests(path, None).tier.tolist() == [0]


def test_semicolons_are_recognised_and_a_tier_is_not_asked_for(tmp_path):
    path = written(tmp_path, "arrived_s;prompt_tokens;output_tokens\n0;1;1\n")
    with pytest.raises(
        TraceError, match=r"parted by commas\); expected arrived_s, prompt_tokens, output_tokens;"
    ):
        read_requests(path)


@pytest.mark.parametrize(
    "text",
    [
        "arrived_s,prompt_tokens,output_tokens\n0,1,1\n",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 23:59:59,1,1\n",
        '{"timestamp": 0, "input_length": 7, "output_length": 5}\n',
    ],
)
def test_a_log_without_tiers_does_not_fit_a_service_with_several(tmp_path, text):
    path = written(tmp_path, text)
    assert read_requests(path, ("premium",)).tier.tolist() == [0]
    with pytest.raises(TraceError, match="no column tier, but tiers premium, standard; expected the column"):
        read_requests(path, ("premium", "standard"))


def test_azures_form_counts_from_its_first_request(tmp_path):
    text = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 23:59:59.5000000,374,44\n"
        "2023-11-17 00:00:01.0000000,396,0\n"
        "2023-11-17 00:00:02.2500000+00:00,396,109\n"
    )
    table = read_requests(written(tmp_path, text))
    assert table.arrived_s.tolist() == [0.0, 2.75]
    assert table.skipped == {"no output tokens": 1}


def test_mooncakes_form_has_milliseconds(tmp_path):
    text = (
        '{"timestamp": 100, "input_length": 700, "output_length": 5, "hash_ids": [0, 1]}\n'
        "\n"
        '{"timestamp": 1600, "input_length": 9, "output_length": 6}\n'
    )
    table = read_requests(written(tmp_path, text))
    assert table.arrived_s.tolist() == [0.0, 1.5]
    assert table.prompt_tokens.tolist() == [700, 9]
    # One request does not say what it begins with, so nothing is known of prefixes.
    assert table.prefixes is None


def test_mooncakes_hashes_become_prefixes(tmp_path):
    text = (
        '{"timestamp": 0, "input_length": 1200, "output_length": 5, "hash_ids": [7, 8, 9]}\n'
        '{"timestamp": 5, "input_length": 600, "output_length": 0, "hash_ids": [7, 11]}\n'
        '{"timestamp": 9, "input_length": 9, "output_length": 6, "hash_ids": []}\n'
        '{"timestamp": 9, "input_length": 513, "output_length": 6, "hash_ids": [7, 8]}\n'
    )
    table = read_requests(written(tmp_path, text))
    assert table.skipped == {"no output tokens": 1}
    assert table.prefixes.tokens == 512
    assert table.prefixes.offsets.tolist() == [0, 3, 3, 5]
    assert table.prefixes.hashes.tolist() == [7, 8, 9, 7, 8]
    part = table.rows(1, 99).prefixes
    assert (part.offsets.tolist(), part.hashes.tolist()) == ([0, 0, 2], [7, 8])
    assert table.rows(7, 9).prefixes.offsets.tolist() == [0]


@pytest.mark.parametrize("said", ["[1, 2]", "[-1]", "[0.5]", "[true]", "7", '["a"]'])
def test_hashes_that_cannot_be_are_refused_with_their_line(tmp_path, said):
    text = '{"timestamp": 0, "input_length": 5, "output_length": 5, "hash_ids": [3]}\n'
    text += f'{{"timestamp": 0, "input_length": 5, "output_length": 5, "hash_ids": {said}}}\n'
    with pytest.raises(TraceError, match=r":2: hash_ids .* expected whole numbers"):
        read_requests(written(tmp_path, text))


def test_burstgpts_form_counts_from_its_first_request_and_drops_failures(tmp_path):
    text = (
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,ChatGPT,472,18,490,Conversation log\n"
        "45,ChatGPT,1087,0,1087,Conversation log\n"
        "118.5,GPT-4,417,276,693,API log\n"
    )
    table = read_requests(written(tmp_path, text))
    assert table.arrived_s.tolist() == [0.0, 113.5]
    assert table.prompt_tokens.tolist() == [472, 417]
    assert table.output_tokens.tolist() == [18, 276]
    assert table.skipped == {"no output tokens": 1}


@pytest.mark.parametrize(
    ("name", "count", "mean_prompt", "mean_output"),
    [
        ("azure2023_conv.csv.gz", 19_366, 1154.7, 211.1),
        ("azure2023_code.csv.gz", 8_819, 2047.8, 27.9),
        ("mooncake_conversation.jsonl.gz", 12_031, 12_035.1, 342.6),
        ("mooncake_synthetic.jsonl.gz", 3_993, 15_325.5, 149.1),
    ],
)
def test_real_logs_have_their_known_sizes_and_means(shared_data, name, count, mean_prompt, mean_output):
    table = read_requests(shared_data / "serving" / "traces" / name)
    assert len(table) == count
    assert not table.skipped
    assert table.arrived_s[0] == 0.0
    assert table.prompt_tokens.mean() == pytest.approx(mean_prompt, abs=0.05)
    assert table.output_tokens.mean() == pytest.approx(mean_output, abs=0.05)


def test_gzip_is_read(tmp_path):
    path = tmp_path / "requests.csv.gz"
    path.write_bytes(gzip.compress(b"arrived_s,prompt_tokens,output_tokens\n0,1,1\n"))
    assert len(read_requests(path)) == 1
