"""Style and script of pages with tables, bars and plots, which are part of the page itself.

Tables of the class `sortable` are sorted by a click on a head; a figure's `output` tells what is pointed at.
"""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1b19; --soft: #6a665f; --line: #dcd8d0; --page: #fbfaf7; --card: #fff;
  --base: #a8a298; --bar: #2f6fb0; --win: #1a7f4e; --loss: #b4452c; --on: #1d4ed8;
  --s0: #2f6fb0; --s1: #b4452c; --s2: #1a7f4e; --s3: #7c4dbd; --s4: #b07d12; --s5: #6a665f; }
@media (prefers-color-scheme: dark) { :root { --ink: #ece9e2; --soft: #a39e94; --line: #3a3731; --page: #171613;
  --card: #201f1b; --base: #77726a; --bar: #5b9bd5; --win: #4cc38a; --loss: #ee7f63; --on: #93b4ff;
  --s0: #5b9bd5; --s1: #ee7f63; --s2: #4cc38a; --s3: #b794f4; --s4: #e0b04a; --s5: #a39e94; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 76rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.35rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0 0 .4rem; } h3.after { margin-top: 1.25rem; } p { margin: .25rem 0 .75rem; }
.soft, small { color: var(--soft); font-size: .85rem; }
section > .card, .halves > .card, figure { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .9rem 1rem; margin: 0 0 1rem; }
.bars { display: grid; grid-template-columns: fit-content(40%) 1fr max-content; gap: .2rem .75rem;
  align-items: center; grid-auto-flow: dense; }
.bars .label { grid-column: 1; } .bars .chart { grid-column: 2; } .bars .figure { grid-column: 3; }
.bars svg { width: 100%; height: 1.15rem; display: block; overflow: visible; }
.bars .scale { color: var(--soft); font-size: .75rem; display: flex; justify-content: space-between; }
.bars .figure, td.number { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
.base { fill: var(--base); } .bar { fill: var(--bar); } .whisker { stroke: var(--ink); stroke-width: 1.5; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1rem; }
.halves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 1rem; }
.halves > .card { margin: 0; }
figure { margin: 0; } figure svg { width: 100%; height: auto; display: block; overflow: visible; }
figcaption { font-size: .85rem; } figure output { display: block; min-height: 3em; font-size: .85rem;
  color: var(--soft); white-space: pre-line; }
.frame { fill: none; stroke: var(--line); } .diagonal { stroke: var(--soft); stroke-dasharray: 4 4; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
circle { fill-opacity: .55; stroke: var(--card); stroke-width: .5; } circle.win { fill: var(--win); }
circle.loss { fill: var(--loss); } circle.tie { fill: var(--base); }
circle.s0 { fill: var(--s0); } circle.s1 { fill: var(--s1); } circle.s2 { fill: var(--s2); }
circle.s3 { fill: var(--s3); } circle.s4 { fill: var(--s4); } circle.s5 { fill: var(--s5); }
.s0, .s1, .s2, .s3, .s4, .s5 { fill-opacity: .85; } .grid { stroke: var(--line); stroke-opacity: .6; }
.front { fill: none; stroke: var(--soft); stroke-dasharray: 4 4; } svg text.name { fill: var(--ink); }
.legend { display: flex; flex-wrap: wrap; gap: .15rem 1rem; list-style: none; padding: 0; margin: 0 0 .75rem;
  font-size: .85rem; } .legend svg { width: .8rem; height: .8rem; vertical-align: -.05rem; }
circle:hover, circle:focus { stroke: var(--ink); stroke-width: 1.5; outline: none; }
.win { color: var(--win); } .loss { color: var(--loss); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; width: 100%; overflow-wrap: break-word; }
th, td { padding: .3rem .45rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 500; white-space: nowrap; } th.number { text-align: right; }
td.number small { display: block; } td.name { min-width: 7rem; } td.text { min-width: 16rem; }
td.best { font-weight: 700; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
th button:hover, th button:focus-visible { color: var(--on); }
th[aria-sort=ascending] button::after { content: " ↑"; } th[aria-sort=descending] button::after { content: " ↓"; }
@media (max-width: 40rem) { .bars { grid-template-columns: 1fr max-content; } .bars .chart { grid-column: 1 / -1; }
  .bars .figure { grid-column: 2; } td.name { min-width: 5rem; } td.text { min-width: 12rem; } }
"""

SCRIPT = """
"use strict";
const key = (row, column, number) => {
  const cell = row.cells[column];
  if (!number) return cell.textContent;
  return cell.dataset.value === undefined ? "" : Number(cell.dataset.value);
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const number = head.classList.contains("number");
      const up = head.ariaSort ? head.ariaSort === "descending" : !number;
      const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
      const empty = (value) => value === "";
      rows.sort((first, second) => {
        const a = key(first, column, number), b = key(second, column, number);
        if (empty(a) || empty(b)) return empty(a) - empty(b);
        const order = number ? a - b : a.localeCompare(b, undefined, { numeric: true });
        return up ? order : -order;
      });
      for (const other of heads) other.ariaSort = null;
      head.ariaSort = up ? "ascending" : "descending";
      table.tBodies[0].append(...rows);
    });
  });
}
for (const figure of document.querySelectorAll("figure")) {
  const told = figure.querySelector("output");
  const tell = (event) => {
    const title = event.target.querySelector && event.target.querySelector("title");
    if (event.target.tagName === "circle" && title) told.textContent = title.textContent;
  };
  figure.addEventListener("pointerover", tell);
  figure.addEventListener("click", tell);
}
"""
