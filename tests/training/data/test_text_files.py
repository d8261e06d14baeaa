"""Text in UTF-8, UTF-16 and UTF-32 with a mark is read; else the message has the command that converts the file."""

import codecs
import gzip
import shutil
import subprocess

import pytest

from hf_tfm.training.data.text_files import check_encoding, open_text

TEXT = "Café 7\n\nZwei Zeilen\n"


def message_of(path):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        check_encoding(str(path))
    return str(caught.value)


def write(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("ending", ["txt", "txt.gz"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_files_with_a_mark_are_read_without_it(tmp_path, encoding, ending):
    path = write(tmp_path / f"a.{ending}", TEXT.encode(encoding))
    check_encoding(str(path))
    assert open_text(str(path)).read() == TEXT
    write(path, codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"))
    assert open_text(str(path)).read() == TEXT


@pytest.mark.skipif(not shutil.which("iconv"), reason="no iconv")
@pytest.mark.parametrize("ending", ["txt", "txt.gz"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "latin-1"])
def test_the_command_in_the_message_converts_the_file(tmp_path, encoding, ending):
    """UTF-16 was called Latin-1, and the converted file held NUL characters."""
    path = write(tmp_path / f"my file.{ending}", TEXT.encode(encoding))
    message = message_of(path)
    command = message[message.index("gunzip" if ending.endswith("gz") else "iconv") :]
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    [converted] = tmp_path.glob("utf8_*")
    assert converted.read_text(encoding="utf-8") == TEXT
    assert converted.suffix == ".txt"


def test_the_line_of_a_byte_that_is_not_utf8_is_named(tmp_path):
    assert "is not UTF-8: byte 0xE9 in line 2" in message_of(write(tmp_path / "a.txt", b"one\ncaf\xe9\n"))
    assert "cut off" in message_of(write(tmp_path / "a.txt", "é".encode("utf-16")[:-1]))


def test_nul_characters_are_refused_with_their_line(tmp_path):
    assert "a.txt, line 2 has a NUL character" in message_of(write(tmp_path / "a.txt", b"one\ntw\0o\n"))


def test_a_broken_archive_is_named(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"some text" * 100)[:30])
    assert "cannot be unpacked" in message_of(tmp_path / "a.txt.gz")
