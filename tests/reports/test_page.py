"""The report in a real browser: no complaint, the video plays, tables sort, keys work, names stay text."""

from collections.abc import Iterator
from pathlib import Path

import clips
import pytest
from browser import Browser, find_browser
from report_folders import add_results, add_video, fill

from lightning_kp.reports.document import write_report
from lightning_kp.runs.folder import RunFolder

EVIL = "</script><img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
NAME = "<img src=x onerror=alert(1)>"

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="needs Chromium (Debian: apt-get install chromium, or set KP_CHROMIUM)"
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = RunFolder(tmp_path_factory.mktemp("browser") / "run <b>bold").create()
    fill(folder, EVIL)
    add_results(folder, EVIL)
    add_video(folder, NAME)
    clips.write_numbered(folder.overlay("session"), 50, (64, 64))
    return write_report(folder)


@pytest.fixture(scope="module")
def page(report: Path) -> Iterator[Browser]:
    program = find_browser()
    assert program is not None
    with Browser(program) as browser:
        browser.open(report)
        yield browser


def test_it_opens_without_a_complaint_or_a_request(page: Browser, report: Path) -> None:
    assert page.complaints == []
    assert page.requests == [report.resolve().as_uri()]


def test_names_inject_nothing(page: Browser) -> None:
    assert page.run("document.title") == "run <b>bold - keypoints"
    assert page.run("document.querySelectorAll('img:not([src^=\"data:\"])').length") == 0
    assert page.run("document.scripts.length") == 1
    headings = page.run("Array.from(document.querySelectorAll('#videos ~ h3'), each => each.textContent)")
    assert NAME in headings


def test_injected_script_would_not_run(page: Browser) -> None:
    """Even markup that no escape stops is stopped by the page's own policy."""
    page.run(
        "(() => { const made = document.createElement('script'); made.textContent = \"document.title='owned'\";"
        " document.body.append(made); made.remove(); })()"
    )
    assert page.run("document.title") != "owned"
    assert any("Content Security Policy" in complaint for complaint in page.complaints)


def test_the_video_plays(page: Browser) -> None:
    page.wait("document.getElementById('video-1').readyState >= 1")
    assert page.run("document.getElementById('video-1').videoWidth") == 64
    assert page.run("document.getElementById('video-1').duration") == pytest.approx(2, abs=0.1)
    page.run("document.getElementById('video-1').play()")
    page.wait("document.getElementById('video-1').currentTime > 0.2")
    page.run("document.getElementById('video-1').pause()")


def test_keys_step_through_frames_and_a_button_shows_a_frame(page: Browser) -> None:
    page.run("document.querySelector('button.seek').click()")
    time = "document.getElementById('video-1').currentTime"
    assert page.run(time) == pytest.approx(2.5 / 25, abs=1e-3)
    assert page.run("document.activeElement.id") == "video-1"
    page.press(".", 190, ".")
    page.wait(f"Math.abs({time} - 3.5 / 25) < 1e-3")
    page.press(",", 188, ",")
    page.wait(f"Math.abs({time} - 2.5 / 25) < 1e-3")


ROWS = "document.querySelectorAll('#diagnostics ~ .scroll tbody tr')"
COLUMN = f"Array.from({ROWS}, row => row.cells[{{}}].innerText.trim())"


def test_tables_sort_by_keyboard(page: Browser) -> None:
    assert page.run(COLUMN.format(0)) == ["kp01", "kp02"]
    page.run("document.querySelector('#diagnostics ~ .scroll th:nth-child(2) button').focus()")
    page.press("Enter", 13, "\r")
    assert page.run(COLUMN.format(0)) == ["kp02", "kp01"]  # failed comes before found
    assert page.run("document.activeElement.parentElement.getAttribute('aria-sort')") == "ascending"
    page.press("Enter", 13, "\r")
    assert page.run(COLUMN.format(0)) == ["kp01", "kp02"]


def test_empty_cells_stay_last(page: Browser) -> None:
    head = "document.querySelector('#diagnostics ~ .scroll th:nth-child(5) button')"
    for _ in range(2):
        page.run(f"{head}.click()")
        assert page.run(COLUMN.format(4)) == ["0.40", ""]


def test_every_control_has_a_name_and_is_reached_by_keys(page: Browser) -> None:
    nameless = page.run(
        "Array.from(document.querySelectorAll('button, a, video, input, [tabindex]')).filter(each =>"
        " !(each.textContent.trim() || each.getAttribute('aria-label') || each.closest('label') ||"
        " each.querySelector('img[alt]'))).length"
    )
    assert nameless == 0
    assert page.run("Array.from(document.images).every(each => each.alt && each.naturalWidth > 0)")
    assert page.run("document.querySelectorAll('nav a').length") >= 8
    assert page.run(
        "Array.from(document.querySelectorAll('nav a')).every(each => document.querySelector(each.hash))"
    )


@pytest.mark.parametrize(("width", "dark"), [(360, False), (360, True), (1280, True)])
def test_it_is_read_on_a_phone_and_in_the_dark(width: int, dark: bool, report: Path) -> None:
    program = find_browser()
    assert program is not None
    with Browser(program, width=width, height=740, dark=dark) as browser:
        browser.open(report)
        assert browser.complaints == []
        # Nothing sticks out of the page: what is wider scrolls in its own frame.
        assert browser.run("document.documentElement.scrollWidth") <= width
        ground = browser.run(
            "(() => { const c = document.createElement('div'); c.style.color = 'Canvas'; document.body.append(c);"
            " return getComputedStyle(c).color })()"
        )
        bright = [int(part) for part in ground.removeprefix("rgb(").removesuffix(")").split(",")]
        assert (max(bright) < 64) == dark
