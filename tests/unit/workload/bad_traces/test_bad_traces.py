"""Malformed traces written by hand: each gives one TraceError with file, line and what was expected."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from simulator.foundation.errors import TraceError
from simulator.workload.helios import read_helios
from simulator.workload.request_log import read_requests
from simulator.workload.swf import read_swf

GOOD = "1 0 -1 100 4 -1 -1 4 200 -1 1 1 1 -1 1 -1 -1 -1\n"
NEXT = "2 10 -1 100 4 -1 -1 4 200 -1 1 1 1 -1 1 -1 -1 -1\n"
#: Compressed, this is long enough to be cut somewhere in the middle.
LONG = "".join(
    f"{job} {7 * job} -1 {job * job % 977} 4 -1 -1 4 200 -1 1 1 1 -1 1 -1 -1 -1\n" for job in range(3000)
)
PACKED = gzip.compress(LONG.encode(), mtime=0)

FLEETSIM = "job_id,tenant,submit_time,num_chips,duration_s,walltime_limit_s\n"
PUBLISHED = "job_id,vc,gpu_num,submit_time,duration\n"
OWN = "arrived_s,prompt_tokens,output_tokens\n"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


@dataclass(frozen=True)
class Bad:
    """One bad file: what it is, its content, the line to be named (0: the file alone), and words."""

    name: str
    content: str | bytes
    line: int
    words: tuple[str, ...]
    suffix: str = ""


def swf(changed: str) -> str:
    """Return a good line, and a second one with some cells changed: 'column=value ...'."""
    cells = NEXT.split()
    for change in changed.split():
        column, value = change.split("=")
        cells[int(column) - 1] = value
    return GOOD + " ".join(cells) + "\n"


def flipped(data: bytes, place: int) -> bytes:
    """Return the data with one bit wrong."""
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


SWF = [
    Bad("an empty file", "", 1, ("empty", "SWF")),
    Bad("blank lines only", "\n  \n\t\n", 1, ("empty", "SWF")),
    Bad("comments only", "; Version: 2\n; MaxProcs: 4\n", 1, ("no job lines", "SWF")),
    Bad("a missing column", GOOD + NEXT.rsplit(" ", 1)[0] + "\n", 2, ("17 columns", "18 numbers")),
    Bad("a column too many", GOOD + NEXT.replace("\n", " 9\n"), 2, ("19 columns", "18 numbers")),
    Bad("a last line cut short", GOOD + "2 10 -1", 2, ("3 columns", "18 numbers")),
    Bad("a word for a number", swf("2=soon"), 2, ("submit time", "'soon'", "not a number")),
    Bad("a word in a column nobody reads", swf("14=bash"), 2, ("executable", "'bash'")),
    Bad("NaN for a run time", swf("4=nan"), 2, ("run time", "nan", "not finite")),
    Bad("an infinite submission", swf("2=inf"), 2, ("submit time", "inf", "not finite")),
    Bad("a number too large for a float", swf("9=1e400"), 2, ("requested time", "not finite")),
    Bad("a negative submission", "1 -5" + GOOD[3:], 1, ("submit time", "-5", "below 0")),
    Bad("a negative run time that is not -1", swf("4=-7"), 2, ("run time", "-7", "-1 for unknown")),
    Bad("a negative estimate that is not -1", swf("9=-2"), 2, ("requested time", "-2")),
    Bad("negative processors", swf("8=-4"), 2, ("requested processors", "-4")),
    Bad("half a processor", swf("8=1.5"), 2, ("requested processors", "1.5", "whole")),
    Bad("a submission in microseconds since 1970", swf("2=1400749079000000"), 2, ("submit time", "above")),
    Bad("a run longer than history", swf("4=1e15"), 2, ("run time", "above")),
    Bad("more processors than exist", swf("8=4e12"), 2, ("requested processors", "above")),
    Bad("times that run backwards", NEXT + "3 9" + GOOD[3:], 2, ("submit time", "line 1", "ascending")),
    Bad("one id twice", GOOD + "1 5" + GOOD[3:], 2, ("job number", "line 1", "once")),
    Bad("one id twice, spelt twice", GOOD + "01 5" + GOOD[3:], 2, ("job number", "line 1")),
    Bad("a fraction for an id", swf("1=2.5"), 2, ("job number", "2.5", "whole")),
    Bad("underscores in a number", swf("4=1_000"), 2, ("run time", "1_000", "not a number")),
    Bad("a hexadecimal number", swf("4=0x10"), 2, ("run time", "0x10")),
    Bad("digits of another script", swf("4=\N{FULLWIDTH DIGIT ONE}"), 2, ("run time", "not a number")),
    Bad("commas for blanks", GOOD.replace(" ", ","), 1, ("1 columns", "18 numbers")),
    Bad("a web page", "<!DOCTYPE html>\n<html><body>404</body></html>\n", 1, ("columns", "SWF")),
    Bad("binary garbage", bytes(range(256)) * 20, 1, ("binary", "SWF")),
    Bad("a zero byte in the middle", GOOD + "2 10 \0" + NEXT[5:], 2, ("binary", "zero byte")),
    Bad("UTF-16", GOOD.encode("utf-16"), 1, ("UTF-16", "UTF-8")),
    Bad("UTF-16 without its mark", GOOD.encode("utf-16-le"), 1, ("zero byte",)),
    Bad(
        "Latin-1 where a number should be",
        GOOD.encode() + NEXT.encode().replace(b" 100 ", b" 1\xb50 "),
        2,
        ("run",),
    ),
    Bad("a name that promises gzip", GOOD, 1, ("ends in .gz", "not gzip"), ".gz"),
    Bad("gzip cut in its middle", PACKED[: len(PACKED) // 2], -1, ("ends early", "gzip"), ".gz"),
    Bad("gzip cut before its checksum", PACKED[:-8], 3001, ("ends early",), ".gz"),
    Bad("gzip cut after its first bytes", PACKED[:5], 1, ("ends early",), ".gz"),
    Bad("gzip with a wrong bit", flipped(PACKED, len(PACKED) // 2), -1, ("damaged",), ".gz"),
    Bad("gzip with a wrong checksum", flipped(PACKED, len(PACKED) - 6), -1, ("damaged",), ".gz"),
    Bad("gzip with a tail", PACKED + b"tail", 3001, ("not gzip follows",), ".gz"),
    Bad("an empty text in gzip", gzip.compress(b""), 1, ("empty",), ".gz"),
    Bad("no job that ever ran", swf("4=-1").replace(" 100 ", " -1 "), 1, ("run time and processors",)),
]

HELIOS = [
    Bad("an empty file", "", 1, ("empty", "Helios")),
    Bad("comments only", "# source\n", 1, ("only comments",)),
    Bad("a header alone", FLEETSIM, 1, ("header without rows",)),
    Bad(
        "a column misspelt",
        FLEETSIM.replace("num_chips", "num_chip") + "1,a,0,1,5,\n",
        1,
        ("num_chips", "num_chip"),
    ),
    Bad("a column twice", FLEETSIM.replace("\n", ",tenant\n") + "1,a,0,1,5,,a\n", 1, ("tenant", "twice")),
    Bad("another CSV", "date,total\n2020-09-01,64\n", 1, ("no column", "expected job_id")),
    Bad("a row too short", FLEETSIM + "1,a,0,1,5,\n2,a,0,1\n", 3, ("4 cells", "6")),
    Bad("a row too long", FLEETSIM + "1,a,0,1,5,,\n", 2, ("7 cells", "6")),
    Bad("NaN for a run time", FLEETSIM + "1,a,0,1,nan,\n", 2, ("duration_s", "not finite")),
    Bad("a negative run time", FLEETSIM + "1,a,0,1,-5,\n", 2, ("duration_s", "below 0")),
    Bad("a blank run time", FLEETSIM + "1,a,0,1,,\n", 2, ("duration_s", "blank")),
    Bad("a limit that is a word", FLEETSIM + "1,a,0,1,5,none\n", 2, ("walltime_limit_s", "'none'")),
    Bad("a negative limit", FLEETSIM + "1,a,0,1,5,-1\n", 2, ("walltime_limit_s", "below 0")),
    Bad("a run longer than history", FLEETSIM + "1,a,0,1,1e12,\n", 2, ("duration_s", "above")),
    Bad("half a GPU", FLEETSIM + "1,a,0,0.5,5,\n", 2, ("num_chips", "whole")),
    Bad("times that run backwards", FLEETSIM + "1,a,9,1,5,\n2,a,8,1,5,\n", 3, ("submit_time", "line 2")),
    Bad("one id twice", FLEETSIM + "1,a,9,1,5,\n1,a,9,1,5,\n", 3, ("job_id", "line 2")),
    Bad("an id that is a word", FLEETSIM + "x1,a,9,1,5,\n", 2, ("job_id", "'x1'")),
    Bad("no virtual cluster", FLEETSIM + "1,,9,1,5,\n", 2, ("tenant", "blank")),
    Bad("a quote left open", FLEETSIM + '1,"a,9,1,5,\n2,a,9,1,5,\n', 2, ("quoting",)),
    Bad("Latin-1", FLEETSIM.encode() + b"1,\xe9,9,1,5,\n", 2, ("not UTF-8",)),
    Bad(
        "a date in another order", PUBLISHED + "1,a,8,01/09/2020 06:00,60\n", 2, ("submit_time", "YYYY-MM-DD")
    ),
    Bad("a day that never was", PUBLISHED + "1,a,8,2020-02-30 06:00:00,60\n", 2, ("submit_time", "no date")),
    Bad("a word that numpy takes for a date", PUBLISHED + "1,a,8,now,60\n", 2, ("submit_time", "'now'")),
    Bad("dates that run backwards", PUBLISHED + "1,a,8,2020-09-02,60\n2,a,8,2020-09-01,60\n", 3, ("line 2",)),
    Bad("CPU jobs only", PUBLISHED + "1,a,0,2020-09-02,60\n", 0, ("no GPU job",)),
    Bad("gzip cut in its middle", PACKED[: len(PACKED) // 2], -1, ("ends early",), ".gz"),
]

REQUESTS = [
    Bad("an empty file", "", 1, ("empty", "arrived_s")),
    Bad("a missing column", "arrived_s,prompt_tokens\n0,5\n", 1, ("output_tokens",)),
    Bad("a unit in a number", OWN + "0 s,5,5\n", 2, ("arrived_s", "'0 s'", "seconds")),
    Bad("NaN for an arrival", OWN + "0,5,5\nnan,5,5\n", 3, ("arrived_s", "not finite")),
    Bad("a negative arrival", OWN + "-1,5,5\n", 2, ("arrived_s", "below 0")),
    Bad("arrivals that run backwards", OWN + "5,5,5\n4,5,5\n", 3, ("arrival", "line 2")),
    Bad("negative tokens", OWN + "0,-5,5\n", 2, ("prompt tokens", "below 0")),
    Bad("half a token", OWN + "0,5,5.5\n", 2, ("output tokens", "whole")),
    Bad("more tokens than were ever written", OWN + "0,5,1e15\n", 2, ("output tokens", "above")),
    Bad("a tier nobody has", OWN.replace("\n", ",tier\n") + "0,5,5,gold\n", 2, ("tier", "'gold'", "premium")),
    Bad("no request with any output", OWN + "0,5,0\n1,0,7\n", 2, ("prompt and output",)),
    Bad("a date without a time", AZURE + "2023-11-16,374,44\n", 2, ("TIMESTAMP",)),
    Bad("an hour that never was", AZURE + "2023-11-16 25:00:00,374,44\n", 2, ("TIMESTAMP",)),
    Bad(
        "a span longer than history",
        AZURE + "1000-01-01 00:00:00,3,4\n2000-01-01 00:00:00,3,4\n",
        3,
        ("above",),
    ),
    Bad("a JSON line cut short", '{"timestamp": 0, "input_length"\n', 1, ("JSON",)),
    Bad("a JSON line without its lengths", '{"timestamp": 0}\n', 1, ("input_length", "missing")),
    Bad(
        "a JSON word",
        '{"timestamp": 0, "input_length": "9", "output_length": 1}\n',
        1,
        ("input_length", "'9'"),
    ),
    Bad("a JSON truth", '{"timestamp": 0, "input_length": true, "output_length": 1}\n', 1, ("input_length",)),
    Bad("JSON's own NaN", '{"timestamp": 0, "input_length": NaN, "output_length": 1}\n', 1, ("prompt",)),
    Bad("JSON numbers beyond all floats", '{"timestamp": 1' + "0" * 999 + "}\n", 1, ("timestamp",)),
    Bad(
        "a JSON list after an object",
        '{"timestamp":0,"input_length":1,"output_length":1}\n[1]\n',
        2,
        ("no JSON object",),
    ),
    Bad("JSON nested beyond reason", '{"a":' * 100_000 + "\n", 1, ("JSON",)),
]

CASES = [
    pytest.param(reader, case, id=f"{reader.__name__}: {case.name}")
    for reader, cases in ((read_swf, SWF), (read_helios, HELIOS), (read_requests, REQUESTS))
    for case in cases
]


def reading(reader: Callable[..., object], path: Path) -> object:
    return reader(path, ("premium",)) if reader is read_requests else reader(path)


@pytest.mark.parametrize(("reader", "case"), CASES)
def test_a_bad_trace_gives_one_error_with_file_and_line(reader, case, tmp_path):
    path = tmp_path / f"trace{case.suffix}"
    content = case.content.encode() if isinstance(case.content, str) else case.content
    path.write_bytes(content)
    with pytest.raises(TraceError) as found:
        reading(reader, path)
    message = str(found.value)
    place, _, said = message.partition(": ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 400
    if case.line == 0:
        assert place == str(path)
    else:
        name, _, line = place.rpartition(":")
        assert name == str(path)
        # -1: some line; where the readable part of a damaged file ends is zlib's affair.
        assert int(line) == case.line or (case.line == -1 and 1 <= int(line) <= 3001)
    assert "expected" in said or case.line == 0
    for word in case.words:
        assert word in said


def test_there_are_enough_of_them():
    assert len(CASES) >= 60
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.mark.parametrize("reader", [read_swf, read_helios, read_requests])
class TestFilesThatCannotBeRead:
    """What is no file at all is named without a line."""

    def test_a_directory(self, reader, tmp_path):
        with pytest.raises(TraceError) as found:
            reading(reader, tmp_path)
        assert str(found.value).startswith(f"{tmp_path}: this is a directory; expected ")

    def test_a_missing_file_with_the_nearest_one_there(self, reader, tmp_path):
        (tmp_path / "gaia.swf").write_text(GOOD)
        with pytest.raises(TraceError) as found:
            reading(reader, tmp_path / "gaya.swf")
        assert str(found.value).startswith(
            f"{tmp_path / 'gaya.swf'}: no such file (is gaia.swf meant?); expected "
        )

    def test_a_missing_directory(self, reader, tmp_path):
        with pytest.raises(TraceError, match="no such file; expected"):
            reading(reader, tmp_path / "nowhere" / "log.swf")

    def test_a_file_that_may_not_be_read(self, reader, tmp_path, monkeypatch):
        path = tmp_path / "secret.swf"
        path.write_text(GOOD)

        def refuse(_: Path) -> bytes:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(TraceError) as found:
            reading(reader, path)
        assert str(found.value).startswith(f"{path}: cannot be read (Permission denied); expected ")

    def test_a_name_that_no_file_can_have(self, reader):
        with pytest.raises(TraceError, match="expected"):
            reading(reader, Path("a\0b"))

    def test_a_file_too_large(self, reader, tmp_path, monkeypatch):
        path = tmp_path / "log.swf"
        path.write_text(GOOD)
        monkeypatch.setattr("simulator.workload.trace_file.MAXIMUM_BYTES", 10)
        with pytest.raises(TraceError, match="expected at most 10"):
            reading(reader, path)

    def test_a_file_that_unpacks_too_large(self, reader, tmp_path, monkeypatch):
        path = tmp_path / "bomb.gz"
        path.write_bytes(gzip.compress(b"0" * 10_000_000))
        monkeypatch.setattr("simulator.workload.trace_file.MAXIMUM_BYTES", 1_000_000)
        with pytest.raises(TraceError, match=r"bomb\.gz:1: unpacks to more than 1000000 bytes"):
            reading(reader, path)
