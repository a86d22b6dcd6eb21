"""Measured iterations: the next point up, chunks joined by their squares, and bad files."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.foundation.errors import TraceError
from simulator.performance.iteration_table import read_iteration_table

ROWS = """part,first,second,ms
tokens,1,,10
tokens,8,,11
tokens,64,,20
decode,1,64,1
decode,4,64,2
decode,1,128,3
decode,4,128,5
prefill,0,8,0.5
prefill,0,64,7
prefill,16,8,0.75
prefill,16,64,9
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(ROWS)
    return read_iteration_table(path, layers=1, tensor_parallel=1)


def test_a_look_rounds_up_to_the_next_measured_point(table):
    assert table.step_ps(1, 60) == 11_000_000_000  # 10 for a token, 1 for what it reads
    assert table.step_ps(2, 130) == 16_000_000_000  # 2 tokens as 8: 11; 65 each as 128: 5
    assert table.most_tokens == 64


def test_chunks_join_as_the_root_of_their_squares(table):
    # 6 and 8 new tokens attend like 10, hence as 64; 14 tokens cost what 64 do.
    assert table.step_ps(0, 0, [(6, 0), (8, 0)]) == 27_000_000_000
    # Earlier tokens of each chunk round up before they add: 3 -> 16.
    assert table.step_ps(0, 0, [(8, 3)]) == 11_750_000_000


def test_a_slower_clock_stretches_everything(table):
    assert table.slowed(2.0).step_ps(1, 60) == 2 * table.step_ps(1, 60)


def test_beyond_what_was_measured_is_refused(table):
    with pytest.raises(TraceError, match="65 new tokens; the widest measured iteration has 64"):
        table.step_ps(0, 0, [(65, 0)])
    with pytest.raises(TraceError, match=r"decode at \(5, 10\) is beyond"):
        table.step_ps(5, 50)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("part,first", "kind,first"), "column 'part' is missing"),
        (("decode,1,64,1", "decoding,1,64,1"), r":5: part is 'decoding'; expected tokens, decode"),
        (("decode,1,64,1", "decode,1,64,nan"), r":5: 1, 64, nan: expected numbers"),
        (("decode,1,64,1", "decode,one,64,1"), r":5: invalid literal"),
    ],
)
def test_bad_files_say_where(tmp_path, change, message):
    path = tmp_path / "bad.csv"
    path.write_text(ROWS.replace(*change))
    with pytest.raises(TraceError, match=message):
        read_iteration_table(path, layers=1, tensor_parallel=1)


def test_an_npz_without_an_operation_names_it(tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, attn_pre_proj__tokens=np.arange(1, 9), attn_pre_proj__ms=np.ones(8))
    with pytest.raises(TraceError, match="no array 'attn_post_proj__tokens'"):
        read_iteration_table(path, layers=1, tensor_parallel=1)


def test_vidurs_tables_give_vidurs_iteration(shared_data):
    """One iteration of Llama 2 70B on two A100 added up by hand from the arrays."""
    path = shared_data / "serving" / "reference" / "vidur" / "iteration_tables_l270_tp2.npz"
    table = read_iteration_table(path, layers=80, tensor_parallel=2)
    with np.load(path) as arrays:
        at_16 = sum(
            float(arrays[f"{name}__ms"][15])
            for name in (
                *("attn_pre_proj", "attn_post_proj", "attn_rope", "attn_kv_cache_save"),
                *("mlp_up_proj", "mlp_down_proj", "mlp_act"),
                *("input_layernorm", "post_attention_layernorm", "add"),
            )
        )
        reduce_ms = 2 * (float(arrays["all_reduce__ms"][15]) + 0.02)
        keys = arrays["attn_decode__keys"]
        row = np.flatnonzero((keys[:, 0] == 9) & (keys[:, 1] == 256))[0]
        decode_ms = 1.1 * float(arrays["attn_decode__ms"][row])
    assert table.step_ps(9, 9 * 200) == pytest.approx(80 * (at_16 + reduce_ms + decode_ms) * 1e9, rel=1e-9)
