from __future__ import annotations

import pytest

from simulator.foundation import ScenarioError, node_of, plain, read_document, read_path


def problems(text, name="f.yaml"):
    with pytest.raises(ScenarioError) as refused:
        read_document(text, name)
    return [str(problem) for problem in refused.value.problems]


def test_every_scalar_stays_the_text_that_was_written():
    node = read_document("zone: NO\nat: 12:30:00\nbig: 1e6\nold: 010\ndate: 2024-03-04\nyes: on\n", "f")
    assert {key: entry.text for key, entry in node.entries.items()} == {
        "zone": "NO",
        "at": "12:30:00",
        "big": "1e6",
        "old": "010",
        "date": "2024-03-04",
        "yes": "on",
    }


def test_places_count_from_one_and_keys_have_their_own():
    node = read_document("# comment\nsites:\n  - {name: paris,  grid: FR}\n", "f.yaml")
    site = node.entries["sites"].items[0]
    assert (site.line, site.column) == (3, 5)
    assert site.keys["grid"] == (3, 20)
    assert (site.entries["grid"].line, site.entries["grid"].column) == (3, 26)
    assert str(site.entries["grid"].problem("no such grid", "sites.0.grid")) == (
        "f.yaml:3:26: sites.0.grid: no such grid"
    )
    assert str(site.key_problem("grid", "unknown name", "sites.0.grid", "known: x")) == (
        "f.yaml:3:20: sites.0.grid: unknown name\n    known: x"
    )


def test_nothing_is_null_but_quoted_nothing_is_text():
    node = read_document('a:\nb: ~\nc: null\nd: "null"\ne: ""\n', "f")
    assert [entry.kind for entry in node.entries.values()] == ["null", "null", "null", "scalar", "scalar"]
    assert node.entries["d"].quoted


def test_all_duplicate_keys_are_named_at_once_with_their_first_line():
    assert problems("a: 1\nb: 2\na: 3\nc: {d: 1, d: 2}\n") == [
        "f.yaml:3:1: duplicate key 'a'; it stands in line 1 already",
        "f.yaml:4:11: duplicate key 'd'; it stands in line 4 already",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.yaml: the file is empty"),
        ("# only a comment\n", "f.yaml: the file is empty"),
        ("~", "f.yaml: the file is empty"),
        ("a: &x 1\nb: *x\n", "f.yaml:1:4: the anchor '&x' is not understood; use extends"),
        (
            "a: !!python/object:os.system x\n",
            "f.yaml:1:4: the tag 'tag:yaml.org,2002:python/object:os.system'",
        ),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document begins here; a file holds one"),
        ("{[1]: 2}\n", "f.yaml:1:2: a key must be a name, but a list stands here"),
        ("a: [1, 2\n", "f.yaml:2:1: not YAML"),
        ("a: 'x\n", "not YAML"),
        ("a:\n\t- 1\n", "f.yaml:2:1: not YAML"),
        ("a: b: c\n", "f.yaml:1:5: not YAML"),
        ("a: \x07\n", "f.yaml:1:4"),
        ("a: " + "[" * 80, "nested more than 50 levels deep"),
        ("\ud800", "not YAML"),
    ],
)
def test_what_is_no_strict_yaml_is_refused_with_its_place(text, message):
    assert message in problems(text)[0]


def test_a_hostile_pile_of_aliases_is_refused_without_being_expanded():
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    found = problems("\n".join(lines))
    assert any("alias '*a0'" in problem for problem in found)


def test_a_file_is_read_with_or_without_a_byte_order_mark(tmp_path):
    for prefix in (b"", b"\xef\xbb\xbf"):
        path = tmp_path / "x.yaml"
        path.write_bytes(prefix + b"a: caf\xc3\xa9\r\nb: 2\r\n")
        assert plain(read_path(path)) == {"a": "café", "b": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\nb: \xff\n", "x.yaml:2:4: not UTF-8 text: byte 0xff"),
        (b"\x1f\x8b\x08\x00", "x.yaml:1:2: not UTF-8 text: byte 0x8b"),
        (b"a" * (16 * 1024 * 1024 + 1), "x.yaml: larger than 16 MiB"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path, content, message):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ScenarioError) as refused:
        read_path(path, "x.yaml")
    assert message in str(refused.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ScenarioError, match="no such file"):
        read_path(tmp_path / "none.yaml")
    with pytest.raises(ScenarioError, match="cannot be read"):
        read_path(tmp_path)


def test_plain_types_scalars_as_yaml_1_2_does():
    node = read_document("[1, -2.5, 1e3, .5, 0o17, 0x1f, true, False, NO, on, 1_000, 010, .nan, '3', ~]", "f")
    assert plain(node) == [
        1,
        -2.5,
        1000.0,
        0.5,
        15,
        31,
        True,
        False,
        "NO",
        "on",
        "1_000",
        10,
        ".nan",
        "3",
        None,
    ]
    assert plain(read_document("9" * 5000, "f")) == "9" * 5000


def test_python_values_become_nodes_and_come_back():
    value = {"a": [1, 2.5, None, True, "true", "null", "x"], "b": {}}
    assert plain(node_of(value)) == value
    for wrong, message in ((float("nan"), "nan is not a number"), ({1: 2}, "1 is not"), (object(), "object")):
        with pytest.raises(ScenarioError, match=message):
            node_of(wrong)


def test_a_node_describes_itself_for_messages():
    node = read_document("{a: [1], b: {c: 1}, d: ~, e: x, f: " + "y" * 200 + "}", "f")
    assert [entry.described() for entry in node.entries.values()] == [
        "a list",
        "a map of keys",
        "nothing",
        "'x'",
        "'" + "y" * 57 + "...'",
    ]
