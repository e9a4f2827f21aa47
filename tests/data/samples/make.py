"""Makes the sample files beside it, and what NumPy and Pillow say of them. Run with numpy and Pillow: python make.py"""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
random = np.random.default_rng(5)


def npy() -> None:
    folder = HERE / "npy"
    folder.mkdir(exist_ok=True)
    types = "f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1".split()
    for code in types:
        values = np.arange(6).reshape(2, 3) * 7 - (0 if code[0] in "ub" else 20)
        if code == "b1":
            values = values % 2
        np.save(folder / f"{code}.npy", values.astype(code))
    cube = np.arange(24, dtype="<f4").reshape(2, 3, 4)
    np.save(folder / "fortran.npy", np.asfortranarray(cube))
    np.save(folder / "scalar.npy", np.float32(2.5))
    np.save(folder / "empty.npy", np.zeros((0, 3), "<f4"))
    for version in ((2, 0), (3, 0)):
        with open(folder / f"version{version[0]}.npy", "wb") as file:
            np.lib.format.write_array(file, cube, version=version)
    np.save(folder / "big_endian.npy", cube.astype(">f4"))
    np.save(folder / "strings.npy", np.array(["a", "bc"]))


def npz() -> None:
    images = random.standard_normal((5, 1, 2, 3)).astype(np.float32)
    mask = np.arange(10, dtype=np.int64).reshape(5, 2)
    labels = np.array([3, 1, 4, 1, 5], np.int32)
    arrays = {"x": images, "mask": mask, "labels": labels, "names": np.array(list("abcde"))}
    np.savez(HERE / "stored.npz", **arrays)
    np.savez_compressed(HERE / "deflated.npz", **arrays)
    np.save(HERE / "axis.npy", images)


def pictures() -> None:
    folder = HERE / "pictures"
    folder.mkdir(exist_ok=True)
    height, width = 20, 30
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([x * 8, y * 12, (x + y) * 5], -1).clip(0, 255).astype(np.uint8)
    noise = random.integers(0, 256, (height, width, 3), np.uint8)
    rgb = np.where((x + y)[..., None] % 7 < 4, smooth, noise)
    image = Image.fromarray(rgb)
    alpha = Image.fromarray(((x * 9) % 256).astype(np.uint8))
    with_alpha = image.copy()
    with_alpha.putalpha(alpha)
    gray = image.convert("L")
    files: dict[str, Image.Image] = {
        "rgb.png": image,
        "alpha.png": with_alpha,
        "gray.png": gray,
        "gray_alpha.png": Image.merge("LA", (gray, alpha)),
        "palette.png": image.quantize(16),
        "bilevel.png": gray.convert("1"),
        "baseline.jpg": image,
        "gray.jpeg": gray,
        "cmyk.jpg": image.convert("CMYK"),
    }
    for name, picture in files.items():
        picture.save(folder / name)
    image.save(folder / "progressive.jpg", progressive=True, quality=60)
    image.save(folder / "full.jpg", subsampling=0, quality=90)
    image.quantize(16).save(folder / "palette_transparent.png", transparency=3)
    png16(folder / "deep.png", rgb.astype(np.uint16) * 257 - 100 * (rgb > 0), interlace=0)
    png16(folder / "interlaced.png", rgb.astype(np.uint16) * 257, interlace=1)

    pixels = {}
    for path in sorted(folder.iterdir()):
        with Image.open(path) as picture:
            if "deep" in path.name or "interlaced" in path.name:
                decoded = picture.convert("RGB")
            elif picture.mode in ("RGBA", "LA", "P", "PA"):
                rgba = picture.convert("RGBA")
                decoded = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
            else:
                decoded = picture.convert("RGB")
            pixels[path.name] = np.asarray(decoded)
    np.savez_compressed(HERE / "pictures.npz", **pixels)

    resized = {}
    for h, w in [(10, 15), (7, 30), (20, 11), (27, 19), (1, 1), (20, 30)]:
        for kernel in ("bilinear", "bicubic"):
            how = Image.Resampling[kernel.upper()]
            resized[f"{h}x{w}_{kernel}"] = np.asarray(Image.fromarray(pixels["rgb.png"]).resize((w, h), how))
    resized["luma"] = np.asarray(Image.fromarray(pixels["rgb.png"]).convert("L"))
    np.savez_compressed(HERE / "resized.npz", **resized)


def png16(path: Path, values: np.ndarray, interlace: int) -> None:
    """Pillow writes no 16-bit colour and no interlaced files."""
    height, width, _ = values.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    passes = [(0, 0, 1, 1)]
    if interlace:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    data = b""
    for x0, y0, dx, dy in passes:
        for row in values[y0::dy, x0::dx]:
            if row.size:
                data += b"\0" + row.astype(">u2").tobytes()
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, interlace)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    )


npy()
npz()
pictures()
