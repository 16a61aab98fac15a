"""Files of loops: what libsndfile would write, in little memory."""

import io
import tracemalloc

import numpy as np
import pytest
import soundfile

from ghostnote.inference.loop_audio import BLOCK, wav_blocks


@pytest.mark.parametrize("frames", [0, 1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_blocks_are_the_file_that_libsndfile_writes(frames: int) -> None:
    audio = np.random.default_rng(frames).standard_normal(frames).astype(np.float32)  # some clips
    levels = np.rint(np.clip(audio.astype(np.float64) * 2**23, -(2**23), 2**23 - 1))
    file = io.BytesIO()
    shifted = levels.astype(np.int32) << 8  # libsndfile takes the upper 24 of 32 bits
    soundfile.write(file, shifted, 44100, format="WAV", subtype="PCM_24")
    assert b"".join(wav_blocks(audio, 44100)) == file.getvalue()


def test_a_long_file_takes_little_memory() -> None:
    audio = np.zeros(20 * BLOCK, np.float32)
    tracemalloc.start()
    try:
        written = sum(len(block) for block in wav_blocks(audio, 44100))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert written == 44 + 3 * len(audio)
    assert most < 64 * BLOCK
