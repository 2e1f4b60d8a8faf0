"""Of which class ILSVRC's validation images are, where they lie in one flat folder: the files that tell it.

Read are, in this order, whichever is there first beside the images or above them:

* LOC_val_solution.csv (Kaggle): image, then WordNet id and boxes;
* val.txt or val_map.txt: image and WordNet id, or image and class index in the order of the sorted WordNet ids (Caffe);
* imagenet_2012_validation_synset_labels.txt (TensorFlow): the WordNet id of each image, in order;
* ILSVRC2012_validation_ground_truth.txt with meta.mat (the devkit): the devkit's own id of each image, in order.
"""

from collections.abc import Sequence
from pathlib import Path

from tokenlens.data.lines import Rows, bad_line, read_columns, read_words
from tokenlens.errors import BadInput

SOLUTION = "LOC_val_solution.csv"
MAPS = ("val.txt", "val_map.txt")
LISTS = ("imagenet_2012_validation_synset_labels.txt", "ILSVRC2012_validation_ground_truth.txt")
DEVKIT = "ILSVRC2012_devkit_t12/data"
WHAT = "of which class each image is"


def flat_labels(folders: Sequence[Path], images: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The class of each image, an index into `classes`.

    Args:
        folders: where the files are looked for.
        images: file names without their endings, e.g. ILSVRC2012_val_00000001.
        classes: WordNet ids, sorted.

    Raises:
        BadInput: none of the files is there; one is malformed, or does not know an image.
    """
    names = (SOLUTION, *MAPS, *LISTS)
    places = [at / name for name in names for at in folders] + [at / DEVKIT / LISTS[1] for at in folders]
    path = next((at for at in places if at.is_file()), None)
    if path is None:
        raise BadInput(
            f"nothing says of which classes the images in {folders[0]} are: put {', '.join(names[:-1])} or "
            f"{DEVKIT} beside it, or sort the images into a folder for each class"
        )
    rows = _pairs(path)
    ids = _devkit(path.parent / "meta.mat") if path.name == LISTS[1] else {}
    number = {wnid: index for index, wnid in enumerate(classes)}
    number |= {str(index): index for index in range(len(classes))} if path.name in MAPS else {}
    number |= {word: number[wnid] for word, wnid in ids.items() if wnid in number}
    found: dict[str, int] = {}
    for line, (image, word) in rows:
        if word not in number:
            raise bad_line(path, line, f"{image} {word}", f"{image} {classes[0]}")
        found[Path(image).stem] = number[word]
    unknown = [image for image in images if image not in found]
    if unknown:
        raise BadInput(f"{path} does not say of which class {unknown[0]} is: fetch the file of these images")
    return [found[image] for image in images]


def _pairs(path: Path) -> Rows:
    """Image and word of each line."""
    if path.name == SOLUTION:
        rows = read_columns(path, ("ImageId", "PredictionString"), WHAT)
        return [(line, [image, text.split(maxsplit=1)[0] if text.strip() else ""]) for line, (image, text) in rows]
    if path.name in MAPS:
        return read_words(path, 2, "ILSVRC2012_val_00000001.JPEG n01751748", WHAT)
    rows = read_words(path, 1, "n01751748", WHAT)
    return [(line, [f"ILSVRC2012_val_{image:08d}", word]) for image, (line, (word,)) in enumerate(rows, 1)]


def _devkit(path: Path) -> dict[str, str]:
    """WordNet ids by the devkit's ids of the 1,000 classes that have images (the others are above them)."""
    import scipy.io

    if not path.is_file():
        raise BadInput(f"there is no {path}, which says what the numbers in the file beside it mean: add it")
    try:
        table = scipy.io.loadmat(path, squeeze_me=True)["synsets"]
        leaves = table[table["num_children"] == 0]
        return {str(int(one)): str(wnid) for one, wnid in zip(leaves["ILSVRC2012_ID"], leaves["WNID"], strict=True)}
    except Exception as error:  # a damaged file fails in SciPy in many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"{path} cannot be read as the devkit's meta.mat ({reason}): fetch it again") from error
