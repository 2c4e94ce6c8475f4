"""Findings -> report.html, one page that opens from disk and asks nothing of any network."""

import base64
import io
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare import plots
from compare.plots import COLORS, Plot
from compare.report import display_name, things, write_whole
from compare.study_report import why_unfinished
from recipe import datasets, mnist
from recipe.run_record import RecordError, RunRecord, read_record

PAGE = "report.html"

_TEMPLATES = Path(__file__).with_name("templates")
_MAX_DISPUTED = 60
_MAX_NETWORK_BYTES = 4_300_000
"""Of all weights together, as base64 of float32: with them the page stays under 5 MB."""

_MAX_CLASSES_SHOWN = 20
"""Of more, the page shows the pairs most often confused instead of a table, and no bar for each."""

_IMAGE_PIXELS = 84
"""Of the longer side of a test image, on the page."""

_TONES = {"parity": "good", "not parity": "bad", "failed": "bad", "inconclusive": "unsure"}

_QUESTIONS = {
    "settings": "Do both sides run what the recipe says? Read back from the live objects.",
    "data": "Is every batch the same, byte for byte, for the first epoch?",
    "initial_weights": "Do both start from the same weights, bit for bit?",
    "forward": "Is every layer's output what its inputs give, up to rounding? Against an exact oracle.",
    "loss": "Is the loss what the outputs give, up to rounding?",
    "gradients": "Is every gradient what the activations give, up to rounding?",
    "optimizer": "Are the weights and both moments after each of the first steps what the gradients give?",
    "trajectory": "Do the two stay together as long as one framework stays with itself?",
    "outcome": "Is the accuracy on the test set the same, within the margin?",
}


def write_page(results: Mapping[str, Any], directory: Path) -> Path:
    """Writes report.html beside the findings, complete or not at all.

    Args:
        results: What `results.json` holds, of a comparison or of a study.
        directory: The comparison's, where the records of the runs are.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    study = results.get("kind") == "study"
    template = environment.get_template("study.html.jinja" if study else "comparison.html.jinja")
    text = template.render(
        page=_study(results) if study else _comparison(results, directory),
        css=(_TEMPLATES / "page.css").read_text(),
        script=(_TEMPLATES / "draw.js").read_text(),
    )
    return write_whole(directory / PAGE, text)


def _common(results: Mapping[str, Any], versions: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    packages = list(dict.fromkeys(chain.from_iterable(versions.values())))
    return {
        "command": results.get("command"),
        "recipe": [[name, _plain(value)] for name, value in results["recipe"].items()],
        "version_names": list(versions),
        "versions": [[package, *(found.get(package, "") for found in versions.values())] for package in packages],
        "tone": _TONES[results["verdict"]],
    }


def _plain(value: Any) -> str:
    if value is None:
        return "each framework's own"
    if isinstance(value, Mapping):
        return "; ".join(f"{_words(key)} {_plain(entry)}" for key, entry in value.items() if entry is not None)
    return ", ".join(map(str, value)) or "none" if isinstance(value, list | tuple) else str(value)


# --- a comparison ----------------------------------------------------------------------------------


def _comparison(results: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    entries = results["implementations"]
    names = list(entries)
    trained = "controls" in results
    controls = _controls(results, directory)
    records = _records(entries, directory) if trained else {}
    finished = {name: record for name, record in records.items() if record.test}
    page = _common(results, {name: entry.get("versions", {}) for name, entry in entries.items()})
    histories = {display_name(name): record.history for name, record in records.items() if record.history["loss"]}
    page |= {
        "title": f"{' and '.join(display_name(name) for name in names)}: one MNIST network, compared",
        "answer": _answer(results),
        "lead": _lead(results),
        "names": [display_name(name) for name in names],
        "sides": _sides(entries),
        "history": [
            plots.history(histories, "loss", "Loss"),
            plots.history(histories, "accuracy", "Accuracy"),
        ]
        if histories
        else [],
        "comparisons": [
            _ladder(names[0], name, comparison, finished, controls)
            for name, comparison in results["comparisons"].items()
        ],
        "thing": things(results).removesuffix("s"),
        "disputed": [],
        "confusions": [],
        "num_classes": 0,
        "networks": [],
        "samples": [],
        "no_networks": None,
    }
    if finished:
        page |= _digits(finished, page["thing"])
    return page


def _records(entries: Mapping[str, Any], directory: Path) -> dict[str, RunRecord]:
    return {name: read_record(directory / entry["record"]) for name, entry in entries.items() if "record" in entry}


def _controls(results: Mapping[str, Any], directory: Path) -> list[NDArray[np.floating]]:
    """The losses of every step of the A/A family; a control that is gone leaves the band narrower."""
    losses = []
    for path in results.get("controls", []):
        try:
            record = read_record(directory / path)
        except RecordError:
            continue
        if not record.diverged:
            losses.append(record.step_losses)
    return losses


def _answer(results: Mapping[str, Any]) -> str:
    reference, other = (display_name(name) for name in results["compared"])
    trained = "controls" in results
    sentences = {
        "parity": f"{reference} and {other} are the same run, up to rounding."
        if trained
        else f"{reference} and {other} take the same first steps, up to rounding.",
        "not parity": f"{reference} and {other} part at the {_words(results['first_failed_rung'] or '')}.",
        "inconclusive": f"{reference} and {other} show no difference, but not all could be decided.",
        "failed": "A run failed: there is nothing to compare.",
    }
    return sentences[results["verdict"]]


def _lead(results: Mapping[str, Any]) -> str:
    entries = results["implementations"]
    failures = [
        f"{display_name(name)} {entry['status']}{': ' + entry['error'] if entry.get('error') else ''}"
        for name, entry in entries.items()
        if entry["status"] != "finished"
    ]
    if failures:
        return "; ".join(failures) + "."
    if results["verdict"] == "not parity":
        rung = next(rung for rung in results["rungs"] if rung["verdict"] == "not parity")
        return f"Likely cause: {rung['cause']}."
    accuracies = [
        f"{display_name(name)} {entry['test_accuracy']:.2%}"
        for name, entry in entries.items()
        if entry.get("test_accuracy")
    ]
    if not accuracies:
        return "Compared number by number without a training: rungs 1 to 7 of the ladder."
    same = results["agreement"]
    alike = f"; {same['same']:,} of {same['total']:,} test {things(results)} predicted alike" if same else ""
    return f"Test accuracy: {', '.join(accuracies)}{alike}."


def _words(name: str) -> str:
    return name.replace("_", " ")


_SIDES: tuple[tuple[str, str, str], ...] = (
    ("Test accuracy", "test_accuracy", "{:.2%}"),
    ("Test loss", "test_loss", "{:.4f}"),
    ("Parameters", "num_parameters", "{:,}"),
    ("Seconds per epoch", "seconds_per_epoch", "{:.2f}"),
    ("Wall time, seconds", "seconds", "{:.1f}"),
)


def _sides(entries: Mapping[str, Any]) -> list[list[str]]:
    rows = [["Status", *(entry["status"] for entry in entries.values())]]
    for title, key, form in _SIDES:
        values = [entry.get(key) for entry in entries.values()]
        if any(value is not None for value in values):
            rows.append([title, *("" if value is None else form.format(value) for value in values)])
            if key == "test_accuracy":
                rows.append(["95% interval", *(_interval(e.get("test_accuracy_interval")) for e in entries.values())])
    if any("peak_memory_bytes" in entry for entry in entries.values()):
        memory = [f"{entry.get('peak_memory_bytes', 0) / 1e6:,.0f} MB" for entry in entries.values()]
        rows.append(["Peak memory", *memory])
    for title, key in (
        ("Framework", "framework"),
        ("Backend", "backend"),
        ("Device", "device"),
        ("Threads", "threads"),
    ):
        rows.append([title, *(str(entry.get(key, "")) for entry in entries.values())])
    return rows


def _interval(interval: Sequence[float] | None) -> str:
    return f"{interval[0]:.2%} to {interval[1]:.2%}" if interval else ""


def _ladder(
    reference: str,
    other: str,
    comparison: Mapping[str, Any],
    finished: Mapping[str, RunRecord],
    controls: Sequence[NDArray[np.floating]],
) -> dict[str, Any]:
    pair = f"{display_name(reference)} and {display_name(other)}"
    losses = {display_name(name): finished[name].step_losses for name in (reference, other) if name in finished}
    ulps: list[Mapping[str, float]] = [
        rung["detail"]["ulps"] for rung in comparison["rungs"] if "ulps" in rung["detail"]
    ]
    return {
        "pair": pair,
        "rungs": [_rung(rung, comparison["first_failed_rung"], (reference, other)) for rung in comparison["rungs"]],
        "horizon": plots.horizon(losses, controls) if len(losses) == 2 else None,  # noqa: PLR2004 - a pair
        "ulps": plots.ulps(ulps[0], ulps[1], pair) if len(ulps) == 2 else None,  # noqa: PLR2004 - both ways
    }


def _rung(rung: Mapping[str, Any], first_failed: str | None, sides: tuple[str, str]) -> dict[str, Any]:
    detail = rung["detail"]
    verdict = f"{rung['verdict']}, after {_words(detail['follows'])}" if "follows" in detail else rung["verdict"]
    measured = "never" if rung["measured"] is None and rung["name"] == "trajectory" else _number(rung["measured"])
    tables = []
    if detail.get("differences"):
        rows = [
            [d["key"], str(d[sides[0]]), str(d[sides[1]]), "yes" if d["arithmetic"] else "no"]
            for d in detail["differences"]
        ]
        tables.append({"header": ["setting", *map(display_name, sides), "changes the arithmetic"], "rows": rows})
    if detail.get("tensors"):
        rows = [[name, *(_number(found.get(side)) for side in sides)] for name, found in detail["tensors"].items()]
        tables.append({"header": ["error / bound of", *map(display_name, sides)], "rows": rows})
    if "paired" in detail:
        tables.append({"header": ["outcome", ""], "rows": _outcome(detail, sides)})
    return {
        "name": rung["name"],
        "title": _words(rung["name"]),
        "verdict": verdict,
        "tone": _TONES[rung["verdict"]],
        "open": rung["name"] == first_failed,
        "question": _QUESTIONS[rung["name"]],
        "where": rung["where"],
        "cause": rung["cause"],
        "numbers": f"{detail['unit']}: {measured}, bound {_number(rung['bound'])}",
        "tables": tables,
    }


def _outcome(detail: Mapping[str, Any], sides: tuple[str, str]) -> list[list[str]]:
    paired = detail["paired"]
    controls = detail["controls_predict_differently"]
    first, second = map(display_name, sides)
    low, high = (100 * end for end in paired["interval"])
    return [
        [f"only {first} right", f"{paired['only_first_right']:,} images"],
        [f"only {second} right", f"{paired['only_second_right']:,} images"],
        ["difference of accuracy, 95% interval", f"{low:+.2f} to {high:+.2f} percentage points"],
        ["McNemar's exact test", f"p = {paired['mcnemar_p']:.2g}"],
        ["images predicted differently", f"{detail['predicted_differently']:.2%}"],
        [
            "the same among the A/A controls",
            f"{min(controls):.2%} to {max(controls):.2%}" if controls else "no control",
        ],
    ]


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


# --- digits, confusion and the networks of a comparison ---------------------------------------------


def _digits(finished: Mapping[str, RunRecord], thing: str) -> dict[str, Any]:
    recipe = next(iter(finished.values())).recipe
    digits, num_classes = datasets.load(recipe), recipe.images.num_classes
    probabilities = {name: record.test.predictions for name, record in finished.items() if record.test}
    predicted = {name: found.argmax(axis=1) for name, found in probabilities.items()}
    disputed = np.flatnonzero(np.ptp(np.stack(list(predicted.values())), axis=0))
    # First those of which the sides are surest, each in its own way.
    certainty = np.min([found[disputed].max(axis=1) for found in probabilities.values()], axis=0)
    order = disputed[np.argsort(-certainty, kind="stable")]
    shown = order[:_MAX_DISPUTED]
    networks, sizes = _networks(finished)
    no_networks = _why_no_networks(recipe.images, sizes)
    right = np.array([found[disputed] == digits.y_test[disputed] for found in predicted.values()])
    scores = ", ".join(f"{display_name(n)} is right on {int(r.sum()):,}" for n, r in zip(predicted, right, strict=True))
    bars = (
        f" The small bars are the probabilities of 0 to {num_classes - 1}." if num_classes <= _MAX_CLASSES_SHOWN else ""
    )
    return {
        "disputed": [_disputed(int(index), digits, probabilities) for index in shown],
        "disputed_sentence": (
            f"{len(disputed):,} of {len(digits.y_test):,} test {thing}s; {scores}. "
            f"Shown: the {len(shown)} on which both are surest.{bars}"
        ),
        "num_classes": num_classes,
        "confusions": [
            {"name": display_name(n), **_confusion(found, digits.y_test, num_classes)} for n, found in predicted.items()
        ],
        "networks": [] if no_networks else networks,
        "samples": [] if no_networks else [_base64(digits.x_test[index].tobytes()) for index in shown],
        "no_networks": no_networks,
    }


def _why_no_networks(images: datasets.Summary, sizes: int) -> str | None:
    """Why the page has no drawing area, if it has none."""
    if images.image_shape != mnist.IMAGE_SHAPE:
        rows, columns = images.image_shape
        return f"Drawing is for images of 28×28 pixels, prepared as MNIST's were; these have {rows}×{columns}."
    if images.num_classes > _MAX_CLASSES_SHOWN:
        return f"Drawing is for up to {_MAX_CLASSES_SHOWN} classes; here are {images.num_classes:,}."
    if sizes > _MAX_NETWORK_BYTES:
        return (
            f"The weights of these networks would make the page {sizes / 1e6:.0f} MB larger; try "
            "`python -m compare predict my_digit.png` instead."
        )
    return None


def _disputed(index: int, digits: mnist.Digits, probabilities: Mapping[str, NDArray[np.floating]]) -> dict[str, Any]:
    image = digits.x_test[index]
    height, width = (max(1, round(_IMAGE_PIXELS * side / max(image.shape))) for side in image.shape)
    return {
        "index": index,
        "label": int(digits.y_test[index]),
        "image": _png(image),
        "height": height,
        "width": width,
        "sides": [
            {
                "name": display_name(name),
                "color": color,
                "predicted": int(found[index].argmax()),
                "probability": f"{found[index].max():.0%}",
                "probabilities": [round(100 * float(share)) for share in found[index]]
                if found.shape[1] <= _MAX_CLASSES_SHOWN
                else [],
            }
            for (name, found), color in zip(probabilities.items(), COLORS, strict=False)
        ],
    }


def _confusion(
    predicted: NDArray[np.integer], labels: NDArray[np.integer], num_classes: int
) -> dict[str, list[list[Any]]]:
    """Rows of a table of all classes, or the pairs most often confused: class, what it was taken for, how often."""
    if num_classes > _MAX_CLASSES_SHOWN:
        wrong = predicted != labels
        pairs, counts = np.unique(np.stack([labels[wrong], predicted[wrong]], axis=1), axis=0, return_counts=True)
        most = np.argsort(-counts, kind="stable")[:_MAX_CLASSES_SHOWN]
        return {"rows": [], "pairs": [[*map(str, pairs[i]), f"{counts[i]:,}"] for i in most]}
    counts = np.zeros((num_classes, num_classes), int)
    np.add.at(counts, (labels, predicted), 1)
    mistakes = counts - np.diag(np.diag(counts))
    shades = np.round(80 * mistakes / max(1, mistakes.max())).astype(int)
    rows = [
        [{"count": int(count), "shade": int(shade)} for count, shade in zip(*row, strict=True)]
        for row in zip(counts, shades, strict=True)
    ]
    return {"rows": rows, "pairs": []}


def _networks(finished: Mapping[str, RunRecord]) -> tuple[list[dict[str, Any]], int]:
    """The weights by layer as base64 of little-endian float32, in C order of the canonical layout; and their size."""
    networks: list[dict[str, Any]] = []
    size = 0
    for name, record in finished.items():
        layers = []
        for layer in record.recipe.layer_names:
            parts = {
                part: _base64(record.weights[f"{layer}.{part}"].astype("<f4").tobytes()) for part in ("kernel", "bias")
            }
            size += sum(map(len, parts.values()))
            layers.append({**parts, "convolution": layer in record.recipe.convolution_names})
        networks.append({"name": display_name(name), "layers": layers})
    return networks, size


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _png(image: NDArray[np.uint8]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{_base64(buffer.getvalue())}"


# --- a study ---------------------------------------------------------------------------------------


def _study(results: Mapping[str, Any]) -> dict[str, Any]:
    names = [display_name(name) for name in results["implementations"]]
    attribution = results["attribution"]
    unfinished = [run for run in results["runs"] if run["status"] != "finished"]
    counts = ", ".join(f"{count:,} {status}" for status, count in results["counts"].items())
    page = _common(results, {name: found["versions"] for name, found in results["versions"].items()})
    return page | {
        "title": f"{' and '.join(names)} over {len(results['seeds'])} seeds: a study",
        "answer": _study_answer(results),
        "lead": f"{len(results['runs']):,} runs: {counts}.",
        "things": things(results),
        "counts": f"{counts}. A run that did not finish has no part in any mean.",
        "equivalence": plots.equivalence(results["equivalence"], results["margin"]),
        "attribution": _attribution_plots(attribution),
        "parting": [
            [e["variant"], e["of"], *(_step(e["parted_at_step"][v]) for v in ("aligned", e["variant"]))]
            for e in attribution
            if "parted_at_step" in e
        ],
        "churn": [
            [
                e["between"],
                e["variant"],
                f"{e['num_pairs']:,}",
                *(f"{e[key]:.2%}" for key in ("mean", "lowest", "highest")),
            ]
            for e in results["churn"]
            if e["num_pairs"]
        ],
        "accuracies": [
            [
                e["variant"],
                display_name(e["implementation"]),
                str(e["num_seeds"]),
                *(_or_empty(e[key], form) for key, form in _ACCURACY_FORMS.items()),
            ]
            for e in results["accuracies"]
        ],
        "unfinished": [
            [f"{display_name(r['implementation'])} {r['variant']}, seed {r['seed']}", r["status"], why_unfinished(r)]
            for r in unfinished
        ],
        "runs": [
            [
                f"{display_name(r['implementation'])} {r['variant']}",
                str(r["seed"]),
                r["status"],
                _or_empty(r["test_accuracy"], "{:.2%}"),
                _or_empty(r["test_loss"], "{:.4f}"),
            ]
            for r in results["runs"]
        ],
    }


_ACCURACY_FORMS = {
    "mean": "{:.3%}",
    "standard_deviation": "{:.3%}",
    "mean_test_loss": "{:.4f}",
    "median_seconds": "{:.1f}",
}


def _attribution_plots(attribution: Sequence[Mapping[str, Any]]) -> list[Plot]:
    titles = {"test_accuracy": ("accuracy, percentage points", 100.0), "test_loss": ("test loss", 1.0)}
    return [
        plots.attribution(attribution, field, title, scale)
        for field, (title, scale) in titles.items()
        if any(entry[field] is not None for entry in attribution)
    ]


def _study_answer(results: Mapping[str, Any]) -> str:
    margin = f"{100 * results['margin']:g} percentage points"
    parts = []
    for verdict, words in (
        ("parity", f"the same accuracy within {margin}"),
        ("not parity", f"further apart than {margin}"),
        ("inconclusive", "not decided"),
    ):
        variants = [entry["variant"] for entry in results["equivalence"] if entry["verdict"] == verdict]
        if variants:
            parts.append(f"{words}: {', '.join(_words(variant) for variant in dict.fromkeys(variants))}")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _step(step: float | None) -> str:
    return "never" if step is None else f"{step:,.0f}"


def _or_empty(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
