"""The report in a real browser: Chromium on PATH; `make test-all` runs this, `make test` does not."""

from __future__ import annotations

import re
import shutil
import subprocess

import made_up_records as made_up
import pytest

from ferbench.benchmark.report import write_report

pytestmark = pytest.mark.heavy

#: Sorts the first table of scores twice by its first row's column and tells the page's own state in its title.
SCRIPT = """
<script>
const table = [...document.querySelectorAll("table.sortable")].find(t => t.caption.textContent.includes("Differences are"));
const order = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent).join(",");
const head = [...table.tHead.rows[0].cells].findIndex(cell => cell.textContent === "last raw");
const button = table.tHead.rows[0].cells[head].querySelector("button");
const said = [order()];
button.click(); said.push(order() + table.tHead.rows[0].cells[head].ariaSort);
button.click(); said.push(order() + table.tHead.rows[0].cells[head].ariaSort);
table.tHead.rows[0].cells[0].querySelector("button").click(); said.push(order());
said.push(document.documentElement.scrollWidth <= window.innerWidth);
document.title = said.join("; ");
</script>
"""


@pytest.mark.parametrize("width", [390, 1280])
def test_tables_sort_and_the_page_fits(tmp_path, width):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium on PATH (see CONTRIBUTING.md)")
    made_up.write_grid(tmp_path / "runs")
    write_report([tmp_path / "runs"], tmp_path)
    page = tmp_path / "report.html"
    page.write_text(page.read_text().replace("</body>", f"{SCRIPT}</body>"))
    command = [
        browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width},800", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    title = re.search("<title>(.*?)</title>", done.stdout, flags=re.DOTALL)
    assert title, done.stderr
    first, down, up, by_name, fits = title[1].split("; ")
    means = {line.split(",")[0] for line in (first, down, up)}
    assert means <= set(made_up.ALGORITHMS)
    assert down.endswith("descending")
    assert up.endswith("ascending")
    assert down.removesuffix("descending").split(",") == up.removesuffix("ascending").split(",")[::-1]
    assert by_name.split(",") == sorted(made_up.ALGORITHMS)
    assert fits == "true"
