"use strict";
// Columns sort by their cells' data-sort; a cell without one stays last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const key = row => row.cells[column].dataset.sort;
      const numeric = head.classList.contains("number");
      const down = head.ariaSort ? head.ariaSort === "ascending" : numeric;
      const order = (a, b) => numeric ? a - b : a.localeCompare(b, undefined, { numeric: true });
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
        return down ? order(y, x) : order(x, y);
      });
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...rows);
    });
  });
}
// A live page loads itself again; what the reader had opened stays open.
const seconds = Number(document.documentElement.dataset.reload);
if (seconds) {
  const folds = [...document.querySelectorAll("details")];
  const name = (fold, i) => location.pathname + (fold.id || i);
  folds.forEach((fold, i) => { fold.open = sessionStorage.getItem(name(fold, i)) === "open"; });
  setTimeout(() => {
    folds.forEach((fold, i) => sessionStorage.setItem(name(fold, i), fold.open ? "open" : ""));
    location.reload();
  }, 1000 * seconds);
}
