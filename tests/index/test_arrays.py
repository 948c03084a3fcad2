"""Files of arrays come back as they were written, and damaged ones are named."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from modernir.errors import ModernirError
from modernir.index.arrays import Blocks, read_arrays, write_arrays

ARRAYS = {
    "codes": np.arange(7, dtype=np.uint16),
    "values": np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32),
    "bytes": np.arange(9, dtype=np.uint8).reshape(3, 3),
    "nothing": np.empty((0, 4), np.float16),
    "offsets": np.array([0, 2, 5], np.int64),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_arrays(tmp_path / "arrays", ARRAYS, {"version": "3", "odd": "ü\n"})
    return tmp_path / "arrays"


def test_arrays_come_back_mapped_and_read_only(file: Path) -> None:
    found, metadata = read_arrays(file)
    assert metadata == {"version": "3", "odd": "ü\n"}
    assert set(found) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
        assert array.size == 0 or not found[name].flags.writeable


def test_safetensors_reads_them_too(file: Path) -> None:
    for name, array in load_file(file).items():
        assert np.array_equal(array, ARRAYS[name])


def test_blocks_make_the_same_file_as_the_whole(file: Path, tmp_path: Path) -> None:
    pieces = {
        name: Blocks(array.dtype, array.shape, iter([array[:1], array[1:1], array[1:]]))
        for name, array in ARRAYS.items()
    }
    write_arrays(tmp_path / "pieces", pieces, {"version": "3", "odd": "ü\n"})
    assert (tmp_path / "pieces").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("parts", [[np.ones((1, 3))], [np.ones((3, 3))], [np.ones((2, 2))]])
def test_blocks_that_do_not_add_up_write_nothing(tmp_path: Path, parts: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="values: "):
        write_arrays(tmp_path / "arrays", {"values": Blocks("float32", (2, 3), parts)}, {})
    assert not list(tmp_path.iterdir())


def test_every_length_but_the_whole_is_refused(file: Path) -> None:
    content = file.read_bytes()
    for length in [*range(0, len(content), 7), len(content) - 1]:
        file.write_bytes(content[:length])
        with pytest.raises(ModernirError, match=rf"{file.name}: damaged \(.*\); rebuild the index or restore the file"):
            read_arrays(file)
    file.write_bytes(content + b"x")
    with pytest.raises(ModernirError, match="damaged"):
        read_arrays(file)
    file.unlink()
    with pytest.raises(ModernirError, match="missing"):
        read_arrays(file)


def test_any_byte_of_the_header_may_be_wrong(file: Path) -> None:
    content = file.read_bytes()
    size = 8 + int.from_bytes(content[:8], "little")
    for place in range(size):
        file.write_bytes(content[:place] + bytes([content[place] ^ 0x11]) + content[place + 1 :])
        try:  # a letter of a name may differ and be a name as good; nothing else may get through
            found, _ = read_arrays(file)
        except ModernirError:
            continue
        assert sum(array.nbytes for array in found.values()) <= len(content)
