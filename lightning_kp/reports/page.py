"""The HTML page of a report: style, script, and the elements that sections are built from.

Text is escaped here; only :class:`Raw` is used as it is.  The page's Content-Security-Policy forbids network access and
all scripts except its own, so that the page stays one file and text from file names remains text even if an escape
was forgotten.
"""

import base64
import hashlib
import html
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lightning_kp.errors import DataError
from lightning_kp.images.drawing import colour, shape
from lightning_kp.images.files import Image

STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8881; --accent: #0072b2 }
@media (prefers-color-scheme: dark) { :root { --accent: #56b4e9 } }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 0 auto; padding: 0 1rem 4rem;
  overflow-wrap: anywhere }
h1 { margin: 1rem 0 0 }
h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem; scroll-margin-top: 3.5rem }
a { color: var(--accent) }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
.skip { position: absolute; left: -99rem } .skip:focus { left: 1rem; top: .5rem; background: Canvas; z-index: 2 }
nav { position: sticky; top: 0; background: Canvas; border-bottom: 1px solid var(--line); z-index: 1;
  display: flex; gap: 0 1rem; flex-wrap: wrap; padding: .5rem 0 }
@media (max-width: 45rem) { nav { flex-wrap: nowrap; overflow-x: auto; white-space: nowrap; scrollbar-width: thin } }
img, video { max-width: 100%; height: auto; border: 1px solid var(--line); border-radius: 4px; display: block }
video { width: min(100%, 42rem); max-height: 80vh; background: #000 }
img.plot { border: 0; width: 100% }
.wide { overflow-x: auto } .wide img { min-width: 36rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; min-width: min(100%, 24rem); font-size: .92em }
th, td { text-align: left; vertical-align: top; overflow-wrap: break-word;
  padding: .35rem .6rem; border-bottom: 1px solid var(--line) }
th.number, th.number button { text-align: right }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
th button { font: inherit; font-weight: bold; border: 0; background: none; color: inherit; cursor: pointer;
  padding: .2rem 0; text-align: left; min-height: 2rem }
th button::after { content: " \\2195"; opacity: .5 }
th[aria-sort=ascending] button::after { content: " \\2191"; opacity: 1 }
th[aria-sort=descending] button::after { content: " \\2193"; opacity: 1 }
.verdict { padding: .8rem 1rem; border-left: .5rem solid #999; background: var(--soft); margin: 1rem 0 }
.found { border-color: #009e73 } .doubtful { border-color: #e69f00 } .failed { border-color: #d55e00 }
.badge { white-space: nowrap; border: 2px solid #999; border-radius: 1em; padding: 0 .5em }
.badge.found { border-color: #009e73 } .badge.doubtful { border-color: #e69f00; border-style: dashed }
.badge.failed { border-color: #d55e00; border-style: dotted }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); gap: 1rem }
.card { border: 1px solid var(--line); border-radius: 6px; padding: .7rem; min-width: 0 }
.card h3 { margin: 0 0 .4rem; display: flex; gap: .5em; align-items: center; justify-content: space-between }
.card p { margin: .4rem 0 0; font-size: .92em }
.marker { width: 1em; height: 1em; vertical-align: -.12em; overflow: visible }
.seek { font: inherit; color: var(--accent); background: none; border: 1px solid; border-radius: 4px; cursor: pointer }
td.long { min-width: 10rem }
figure { margin: 0 }
pre { overflow: auto; background: var(--soft); padding: 1rem; max-height: 30rem }
summary { cursor: pointer; padding: .3rem 0 }
input[type=range] { width: 100%; accent-color: var(--accent) }
"""

SCRIPT = """
"use strict";
document.querySelectorAll("table.sortable").forEach(table => {
  const heads = table.tHead.rows[0].cells;
  Array.from(heads).forEach((head, column) => {
    const text = head.textContent;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      Array.from(heads).forEach(each => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = row => {
        const cell = row.cells[column];
        return (cell.dataset.value ?? cell.querySelector("[data-value]")?.dataset.value) ?? cell.textContent;
      };
      const empty = value => value === "";
      const rows = Array.from(table.tBodies[0].rows);
      rows.sort((one, two) => {
        const a = key(one), b = key(two);
        if (empty(a) || empty(b)) return empty(a) - empty(b);
        const order = isNaN(a) || isNaN(b) ? a.localeCompare(b, "en", {numeric: true}) : a - b;
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
});
document.querySelectorAll("video").forEach(video => video.addEventListener("keydown", event => {
  const step = {",": -1, ".": 1}[event.key];
  if (!step) return;
  video.pause();
  video.currentTime += step / Number(video.dataset.fps || 25);
}));
document.querySelectorAll("button.seek").forEach(button => button.addEventListener("click", () => {
  const video = document.getElementById(button.dataset.video);
  video.pause();
  video.currentTime = Number(button.dataset.time);
  video.scrollIntoView({block: "center"});
  video.focus();
}));
document.querySelectorAll(".steps").forEach(steps => {
  const pictures = Array.from(steps.querySelectorAll("figure"));
  const label = document.createElement("label");
  const slider = document.createElement("input");
  Object.assign(slider, {type: "range", min: 0, max: pictures.length - 1, value: pictures.length - 1});
  const show = () => pictures.forEach((each, i) => { each.hidden = i !== Number(slider.value); });
  slider.addEventListener("input", show);
  label.append("Training step (move with the arrow keys)", slider);
  steps.prepend(label);
  show();
});
"""

LONG_TEXT = 24  # characters: a longer text would make a cell in a narrow column very tall
_SIGNS = {"failed": "\N{MULTIPLICATION X}", "doubtful": "?", "found": "\N{CHECK MARK}"}  # in sorting order


class Raw(str):
    """HTML markup that is not escaped again."""

    __slots__ = ()


def page(title: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """The whole HTML file.

    Args:
        title: Title and main heading.
        sections: (anchor, heading, markup) of each section.  Without a heading the markup stands alone and is not in
            the navigation bar.
    """
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    links = [f'<a href="#{anchor}">{escaped(heading)}</a>' for anchor, heading, _ in sections if heading]
    body = [
        f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{escaped(heading)}</h2>{markup}</section>'
        if heading
        else markup
        for anchor, heading, markup in sections
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(title)} - keypoints</title><style>{STYLE}</style></head>"
        '<body><a class="skip" href="#main">Skip to content</a>'
        f'<h1>{escaped(title)}</h1><nav aria-label="Sections of the report">{"".join(links)}</nav>'
        f'<main id="main">{"".join(body)}</main><script>{SCRIPT}</script></body></html>\n'
    )


def escaped(text: Any) -> str:
    """Text escaped for HTML; :class:`Raw` is returned unchanged."""
    return text if isinstance(text, Raw) else html.escape(str(text))


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> Raw:
    """A table that can be sorted by any column.

    Floats are shown with two decimals but sorted by their full value; None and NaN give an empty cell.
    """
    body = [list(row) for row in rows]
    numbers = [any(_is_number(row[i]) for row in body) for i in range(len(heads))]
    head = "".join(
        f'<th scope="col"{" class=number" if number else ""}>{escaped(name)}</th>'
        for name, number in zip(heads, numbers, strict=True)
    )
    lines = ["<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in body]
    return Raw(
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return '<td class="number" data-value=""></td>'
    if isinstance(value, float):
        return f'<td class="number" data-value="{value!r}">{value:.2f}</td>'
    if _is_number(value):
        return f'<td class="number" data-value="{value}">{value}</td>'
    long = not isinstance(value, Raw) and len(str(value)) > LONG_TEXT
    return f'<td class="long">{escaped(value)}</td>' if long else f"<td>{escaped(value)}</td>"


def marker(keypoint: int) -> Raw:
    """A keypoint's marker as drawn in the overlays, followed by its name."""
    paths = {
        "disc": '<circle cx="8" cy="8" r="6" fill="{0}"/>',
        "square": '<rect x="2.5" y="2.5" width="11" height="11" fill="{0}"/>',
        "diamond": '<path d="M8 1 15 8 8 15 1 8Z" fill="{0}"/>',
        "ring": '<circle cx="8" cy="8" r="4.5" fill="none" stroke="{0}" stroke-width="4"/>',
    }
    drawn = paths[shape(keypoint)].format("rgb({},{},{})".format(*colour(keypoint)))
    return Raw(
        f'<span><svg class="marker" viewBox="0 0 16 16" aria-hidden="true">{drawn}</svg> {name_of(keypoint)}</span>'
    )


def name_of(keypoint: int) -> str:
    """Name of a keypoint counted from 0, as in every table: kp01 for the first."""
    return f"kp{keypoint + 1:02d}"


def badge(verdict: str) -> Raw:
    """A verdict shown by text, sign and outline, so that it does not depend on colour."""
    kind = verdict if verdict in _SIGNS else ""
    order = list(_SIGNS).index(verdict) if kind else len(_SIGNS)
    text = f"{_SIGNS.get(verdict, '')} {escaped(verdict)}"
    return Raw(f'<span class="badge {kind}" data-value="{order}">{text}</span>')


def picture(path: Path, text: str, *, wide: bool = False) -> Raw:
    """An image file embedded in the page, as JPEG if that is smaller; empty if the file is missing or damaged.

    ``text`` is the alternative text; ``wide`` lets the image scroll sideways on small screens.
    """
    from PIL import Image as Pictures

    try:
        content = path.read_bytes()
        opened = Pictures.open(io.BytesIO(content)).convert("RGB")
    except (OSError, ValueError, DataError):
        return Raw("")
    buffer = io.BytesIO()
    opened.save(buffer, format="JPEG", quality=88)
    small = buffer.getvalue()
    kind, content = ("jpeg", small) if len(small) < len(content) else ("png", content)
    return _img(data_uri(f"image/{kind}", content), text, wide=wide)


def photograph(image: Image, text: str) -> Raw:
    """An image (H, W, 3), uint8, embedded in the page as JPEG; ``text`` is the alternative text."""
    from PIL import Image as Pictures

    buffer = io.BytesIO()
    Pictures.fromarray(image).save(buffer, format="JPEG", quality=85)
    return _img(data_uri("image/jpeg", buffer.getvalue()), text)


def drawing(svg: bytes, text: str) -> Raw:
    """A plot embedded in the page as SVG; ``text`` is the alternative text."""
    return Raw(f'<img class="plot" alt="{escaped(text)}" src="{data_uri("image/svg+xml", svg)}">')


def _img(uri: str, text: str, *, wide: bool = False) -> Raw:
    image = f'<img alt="{escaped(text)}" src="{uri}">'
    return scrolled(image, text) if wide else Raw(image)


def scrolled(markup: str, text: str) -> Raw:
    """Markup that may be wider than the screen: it scrolls sideways, with the keyboard as well."""
    return Raw(f'<div class="wide" tabindex="0" role="group" aria-label="{escaped(text)}">{markup}</div>')


def data_uri(kind: str, content: bytes) -> str:
    """Data URI that contains ``content`` of the media type ``kind``."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
