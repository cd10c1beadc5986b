"""The rows of a file: what is read, and every mistake with its line."""

import json
import tracemalloc

import pytest

from sfumato.cli.sampling import size_from
from sfumato.errors import InputError
from sfumato.generation.guidance import Guidance
from sfumato.generation.request import Request
from sfumato.generation.tasks.jobs import read_jobs


@pytest.fixture
def read(tmp_path):
    def jobs(content, name="rows.csv", seed=0, request=None):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return list(read_jobs(path, request or Request(steps=7), seed, size_from))

    return jobs


FULL = {
    "prompt": 'a "red" cat, sitting',
    "seed": 5,
    "n": 3,
    "negative": "dog",
    "guidance_scale": 2.5,
    "steps": 9,
    "solver": "ddim",
    "size": "32x48",
    "name": "my cat",
}


def test_all_columns_mean_the_same_in_both_formats(read):
    quoted = ",".join('"{}"'.format(str(value).replace('"', '""')) for value in FULL.values())
    (from_csv,) = read(",".join(FULL) + "\n" + quoted + "\n")
    (from_json,) = read(json.dumps(FULL) + "\n", "rows.jsonl")
    request = Request(9, "ddim", guidance_scale=2.5, size=(48, 32), guidance=Guidance(negative="dog"))
    for job in (from_csv, from_json):
        assert (job.prompt, job.label, list(job.seeds)) == (FULL["prompt"], None, [5, 6, 7])
        assert job.request == request
        assert [job.file(k) for k in range(3)] == ["my cat-0.png", "my cat-1.png", "my cat-2.png"]
    assert (from_csv.line, from_json.line) == (2, 1)
    assert from_csv.where.endswith("rows.csv, line 2")


def test_what_a_row_does_not_say_is_the_default(read):
    one, two = read("prompt,steps,seed,n,name\ncat,,,,\n,3,,,\n", seed=4)
    assert one.request == Request(steps=7)
    assert two.request == Request(steps=3)
    assert (one.prompt, two.prompt) == ("cat", "")
    assert (one.file(0), two.file(0)) == ("000000.png", "000001.png")
    (row,) = read('{"label": "food", "seed": null, "n": 11, "size": 16}\n', "rows.jsonl")
    assert (row.label, row.prompt, row.request.size) == ("food", None, (16, 16))
    assert (row.file(0), row.file(10)) == ("000000-00.png", "000000-10.png")
    (row,) = read("prompt,n\ncat,10\n")
    assert (row.file(0), row.file(9)) == ("000000-0.png", "000000-9.png")


def test_seeds_count_on_over_the_rows_that_name_none(read):
    jobs = read("prompt,seed,n\na,,2\nb,100,3\nc,,1\nd,,2\n", seed=7)
    assert [list(job.seeds) for job in jobs] == [[7, 8], [100, 101, 102], [9], [10, 11]]


def test_an_empty_cell_of_the_column_that_a_row_does_not_use(read):
    jobs = read("prompt,label\nred cat,\n,food\n,\n")
    assert [(job.prompt, job.label) for job in jobs] == [("red cat", None), (None, "food"), ("", "")]


def test_lines_are_counted_over_quoted_line_ends_blank_lines_and_a_byte_order_mark(read):
    jobs = read('\ufeffprompt,seed\r\n"two\nlines",1\r\n\r\ncat,2\r\n')
    assert [(job.line, job.prompt) for job in jobs] == [(2, "two\nlines"), (5, "cat")]
    jobs = read('{"prompt": "a"}\n\n  \n{"prompt": "b"}', "rows.jsonl")
    assert [(job.line, job.prompt) for job in jobs] == [(1, "a"), (4, "b")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "rows.csv holds no rows"),
        ("prompt,seed\n", "rows.csv holds no rows"),
        ("promt,seed\ncat,1\n", "line 1: there is no column 'promt'. Did you mean 'prompt'"),
        ("prompt,seed,seed\ncat,1,1\n", "column 'seed' is there twice"),
        ("seed,n\n1,1\n", "line 1: there is neither a prompt nor a label"),
        ("prompt,seed\na cat, red,1\n", "line 2: 3 cells under 2 columns; put a text with a comma between quotes"),
        ("prompt,seed\ncat\n", "line 2: 1 cells under 2 columns"),
        ("prompt,seed\ncat,1\ncat,x\n", "line 3: seed is a whole number, not 'x'"),
        ("prompt,seed\ncat,1.5\n", "line 2: seed is a whole number, not '1.5'"),
        ("prompt,seed\ncat,-1\n", "line 2: a seed is a whole number from 0"),
        (f"prompt,seed,n\ncat,{2**63 - 1},2\n", "line 2: a seed is a whole number from 0"),
        ("prompt,seed\ncat," + "9" * 5000 + "\n", "seed is a whole number, not '999.*…"),
        ("prompt,n\ncat,0\n", "line 2: n is a whole number from 1 to 100,000, not 0"),
        ("prompt,n\ncat,1000000000\n", "n is a whole number from 1 to 100,000"),
        ("prompt,guidance_scale\ncat,much\n", "line 2: guidance_scale is a number, not 'much'"),
        ("prompt,guidance_scale\ncat,nan\n", "guidance_scale is a number, not 'nan'"),
        ("prompt,guidance_scale\ncat,-2\n", "guidance_scale is a number from 0 upwards, not -2"),
        ("prompt,size\ncat,32 48\n", "line 2: .*write WIDTHxHEIGHT"),
        ("prompt,name\ncat,../cat\n", "line 2: '../cat' cannot be the name of a file"),
        ("prompt,name\ncat,.cat\n", "cannot be the name of a file"),
        ("prompt,name\ncat," + "c" * 151 + "\n", "cannot be the name of a file"),
        ('prompt,seed\n"cat,1\n', "line 2: not CSV, .* Is a quote left open"),
        ('prompt,seed\n"c"at,1\n', "line 2: not CSV"),
        ("prompt\n" + "x" * 200_000 + "\n", r"line 2: not CSV, field larger than field limit"),
        ("prompt\n" + "x" * 1_000_001, "line 2: longer than 1,000,000 bytes"),
        (b"prompt\ncat\n\xff\xfe\n", "line 3: no UTF-8 text"),
        ("prompt\ncat\n".encode("utf-16"), "line 1: no UTF-8 text"),
        (b"prompt\nc\0t\n", "line 2: holds a zero byte"),
        (b"\x89PNG\r\n\x1a\n\0\0", "no UTF-8 text"),
    ],
)
def test_mistakes_in_csv(read, content, message):
    with pytest.raises(InputError, match=message):
        read(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n\n", "rows.jsonl holds no rows"),
        ('{"prompt": "a"}\n{"prompt": "b"', "line 2: not JSON"),
        ("[" * 100_000, "line 1: not JSON"),
        ("[1, 2]", r"line 1: expected an object, .*, not \[1, 2\]"),
        ('["prompt"]', "expected an object"),
        ('{"promt": "a"}', "Did you mean 'prompt'"),
        ('{"prompt": "a", "prompt": "b"}', "column 'prompt' is there twice"),
        ('{"prompt": null}', "neither a prompt nor a label"),
        ('{"prompt": 5}', "prompt is a text, not 5"),
        ('{"prompt": "a", "seed": true}', "seed is a whole number, not True"),
        ('{"prompt": "a", "seed": 1.0}', "seed is a whole number, not 1.0"),
        ('{"prompt": "a", "guidance_scale": Infinity}', "guidance_scale is a number, not inf"),
        ('{"prompt": "a", "guidance_scale": [2]}', r"guidance_scale is a number, not \[2\]"),
        ('{"prompt": "a", "size": [8, 8]}', r"size is a text, not \[8, 8\]"),
        ('{"prompt": "a", "size": -8}', "write WIDTHxHEIGHT"),
        ('{"prompt": "a", "name": "\\u0007"}', "cannot be the name of a file"),
    ],
)
def test_mistakes_in_json_lines(read, content, message):
    with pytest.raises(InputError, match=message):
        read(content, "rows.jsonl")


def test_files_that_are_none(tmp_path, read):
    with pytest.raises(InputError, match=r"the rows come as .csv \(with a header\) or .jsonl"):
        read("prompt\ncat\n", "rows.txt")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        list(read_jobs(tmp_path / "none.csv", Request(), 0, size_from))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        list(read_jobs(tmp_path / "folder.csv", Request(), 0, size_from))


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_memory_does_not_grow_with_the_file(tmp_path, name):
    path, peaks = tmp_path / name, []
    for rows in (200, 4_000):
        lines = ["prompt", *["a red cat"] * rows] if name.endswith("csv") else ['{"prompt": "a red cat"}'] * rows
        path.write_text("\n".join(lines))
        tracemalloc.start()
        assert sum(1 for _ in read_jobs(path, Request(), 0, size_from)) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 50_000  # bytes; the rows themselves would be a million
