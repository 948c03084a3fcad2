"""Style and script of the page of explanations, which are part of the page itself."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1b19; --soft: #6a665f; --line: #dcd8d0; --page: #fbfaf7; --card: #fff;
  --heat: 245 158 11; --strong: .85; --on: #1d4ed8; }
@media (prefers-color-scheme: dark) { :root { --ink: #ece9e2; --soft: #a39e94; --line: #3a3731; --page: #171613;
  --card: #201f1b; --heat: 217 119 6; --strong: .75; --on: #93b4ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.35rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 0; } p { margin: .25rem 0 .75rem; }
.soft, small, caption { color: var(--soft); font-size: .85rem; } .note { border-left: 3px solid var(--on);
  padding-left: .6rem; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem;
  margin: 0 0 1.25rem; }
header.hit { display: flex; flex-wrap: wrap; gap: .15rem .75rem; align-items: baseline; margin-bottom: .6rem; }
.score { font-variant-numeric: tabular-nums; font-weight: 600; }
.chips { display: flex; flex-wrap: wrap; gap: .35rem; margin: 0 0 .8rem; padding: 0; list-style: none; }
.chip { font: inherit; color: inherit; border: 1px solid var(--line); border-radius: 1rem; padding: .05rem .6rem;
  cursor: pointer; max-width: 100%; text-align: left; } .chip small { color: inherit; opacity: .8; }
.chip { background-color: transparent; }
.text { white-space: pre-wrap; } .text.long { max-height: 40rem; overflow: auto; } .text .title { font-weight: 600; }
.own { display: flex; flex-wrap: wrap; gap: .35rem; align-items: baseline; margin: .6rem 0 0; }
.unread { color: var(--soft); opacity: .75; }
mark { color: inherit; background-color: transparent; border-radius: .2rem; padding: .05em .1em; margin: 0 -.1em; }
.own mark { margin: 0; padding: 0 .3em; }
.chip:hover, .chip:focus-visible, .chip[aria-pressed=true], mark.on { outline: 2px solid var(--on);
  outline-offset: 1px; }
.focus :is(.text, .own) mark:not(.on) { background-color: transparent; }
details { margin-top: .9rem; } summary { cursor: pointer; color: var(--soft); }
.flow { overflow-x: auto; margin-top: .5rem; }
.wide { overflow: auto; max-height: 36rem; margin-top: .5rem; }
table { border-collapse: collapse; font-size: .9rem; } th, td { padding: .2rem .5rem; text-align: left;
  vertical-align: top; border-bottom: 1px solid var(--line); } thead th { color: var(--soft); font-weight: 500; }
.matches { width: 100%; } .matches td:nth-child(2) { text-align: right; font-variant-numeric: tabular-nums; }
.matches th, .matches td { overflow-wrap: break-word; } .matches mark { margin: 0; }
@media (max-width: 40rem) { .matches thead { display: none; } .matches tr { display: grid;
  grid-template-columns: 1fr auto 1fr; border-bottom: 1px solid var(--line); } .matches th, .matches td { border: 0; }
  .matches td:last-child { grid-column: 1 / -1; } .matches td:empty { display: none; } }
.matrix { font-size: .75rem; overflow-wrap: normal; } .matrix th, .matrix td { padding: .1rem .3rem; border: 0;
  white-space: nowrap; }
.matrix td { text-align: center; font-variant-numeric: tabular-nums; min-width: 2.2em; }
.matrix td.best { outline: 2px solid var(--on); outline-offset: -2px; }
.matrix thead th { position: sticky; top: 0; z-index: 1; background: var(--card); writing-mode: vertical-rl;
  transform: rotate(180deg); text-align: left; max-height: 9rem; }
.matrix tbody th { position: sticky; left: 0; background: var(--card); font-weight: 400; max-width: 9rem;
  overflow: hidden; text-overflow: ellipsis; }
"""

SHADES = 9
"""Shades of contribution, the classes h1 to h9; h0 is none."""

SCRIPT = """
"use strict";
for (const hit of document.querySelectorAll("article")) {
  const chips = [...hit.querySelectorAll(".chip")], marks = [...hit.querySelectorAll(".text mark, .own mark")];
  let pinned = null;
  const show = (chip) => {
    hit.classList.toggle("focus", chip !== null);
    for (const mark of marks) {
      mark.classList.toggle("on", chip !== null && mark.dataset.q.split(" ").includes(chip.dataset.q));
    }
  };
  const pin = (chip) => {
    pinned = pinned === chip ? null : chip;
    for (const other of chips) other.setAttribute("aria-pressed", String(other === pinned));
    show(pinned);
    const first = marks.find((mark) => mark.classList.contains("on"));
    const box = first && first.closest(".text");
    if (box && pinned) box.scrollTop = first.offsetTop - box.offsetTop - box.clientHeight / 3;
  };
  for (const chip of chips) {
    chip.addEventListener("mouseenter", () => show(chip));
    chip.addEventListener("mouseleave", () => show(pinned));
    chip.addEventListener("focus", () => show(chip));
    chip.addEventListener("blur", () => show(pinned));
    chip.addEventListener("click", () => pin(chip));
  }
}
"""


def shades_style() -> str:
    """Return the rules of the classes of shades."""
    return "".join(
        f".h{level} {{ background-color: rgb(var(--heat) / calc(var(--strong) * {level / SHADES:.2f})); }}\n"
        for level in range(1, SHADES + 1)
    )
