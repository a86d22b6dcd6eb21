from __future__ import annotations

from simulator.telemetry import MemorySink
from simulator.telemetry.recorder import BLOCK_ROWS, ColumnBuffer, Recorder
from simulator.telemetry.tables import TABLES


def test_appenders_stay_good_when_rows_leave():
    """The board keeps the appenders for the whole run; a spill must not take them away."""
    buffer = ColumnBuffer(TABLES["segments"])
    add = buffer.appenders
    for append in add:
        append(1)
    first = buffer.take()
    for append in add:
        append(2)
    assert first["job"].tolist() == [1]
    assert buffer.take()["job"].tolist() == [2]
    assert len(buffer) == 0


def test_text_that_left_does_not_change_any_more():
    events = ColumnBuffer(TABLES["events"])
    events.add(0.0, "call", "curtailment", "here", "began", 0.0, "", 1.0)
    taken = events.take()
    events.add(1.0, "call", "curtailment", "here", "ended", 0.0, "", 1.0)
    assert taken["outcome"] == ["began"]


def test_a_full_buffer_leaves_in_a_block_and_the_table_is_whole():
    sink = MemorySink()
    recorder = Recorder(sink)
    row = [0] * len(TABLES["segments"].columns)
    for job in range(BLOCK_ROWS + 3):
        row[0] = job
        recorder.segments.add(*row)
        if len(recorder.segments) >= BLOCK_ROWS:
            recorder.spill()
    assert len(recorder.segments) == 3
    recorder.finish()
    assert recorder.all_segments()["job"].tolist() == list(range(BLOCK_ROWS + 3))
    assert sink.columns("segments")["job"].tolist() == list(range(BLOCK_ROWS + 3))
