"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector, within = document) => within.querySelector(selector);
  const rows = all(".rows > li");
  const links = rows.map(row => one("a", row));
  const panel = one(".panel"), body = one(".body", panel), now = one(".now", panel), status = one("[role=status]");
  const heads = all(".heads .head");
  const targets = links.map(link => link.getAttribute("href").slice(1));
  const firsts = new Map(), ends = new Map(), rowOf = new Map(), bars = new Map();
  const words = {open: "in a transaction", alone: "in no transaction"};
  const lanes = one(".lanes"), list = one(".rows"), arrows = one(".arrows");
  let current = -1, shown = -1, chosen = "";

  rows.forEach((row, index) => {
    const call = callOf(row);
    if (!firsts.has(call)) firsts.set(call, index);
    if (row.classList.contains("ended")) ends.set(call, one(".action", row).textContent);
    else if (!row.matches(".resumed, .folded")) rowOf.set(targets[index], index);
  });
  all(".timeline a").forEach(bar => bars.set(bar.dataset.step, bar));

  function callOf(element) {
    return /(?:^| )l(\d+)(?: |$)/.exec(element.className)[1];
  }

  // What every call is at after a row; a call without a rail has not begun or has ended.
  function states(index) {
    const rails = new Map(all(".rail", rows[index]).map(rail => [callOf(rail), rail]));
    return heads.map(head => {
      const call = callOf(head), rail = rails.get(call);
      const letter = one(".chip", head).textContent;
      const kind = rail?.classList[2];
      if (rail && kind !== "ended") return {call, letter, text: rail.dataset.text ?? words[kind], kind};
      if (index < (firsts.get(call) ?? Infinity)) return {call, letter, text: "not begun", kind: "gone"};
      return {call, letter, text: ends.get(call) ?? "", kind: "gone"};
    });
  }

  function chip(call, letter) {
    const made = document.createElement("b");
    made.className = `chip l${call}`;
    made.textContent = letter;
    return made;
  }

  function show(index) {
    if (shown === index) return;  // or what is being clicked would be another element by then
    shown = index;
    const detail = document.getElementById(targets[index]).cloneNode(true);
    detail.removeAttribute("id");
    body.replaceChildren(detail);
    body.scrollTop = 0;
    one(".label", panel).textContent = links[index].dataset.label;
    now.replaceChildren(...states(index).map(state => {
      const item = document.createElement("li"), text = document.createElement("span");
      text.className = state.kind;
      text.textContent = state.text;
      item.append(chip(state.call, state.letter), text);
      return item;
    }));
  }

  function announce(index) {
    const spoken = all(".cell > span", rows[index]).map(part => part.textContent.trim()).join(" ");
    const others = states(index).filter(state => state.kind !== "gone");
    status.textContent = `${spoken}. ${others.map(state => `${state.letter} ${state.text}`).join(", ")}`;
  }

  // A fold and the rows inside of it, which follow it.
  function fold(index, opened) {
    rows[index].classList.toggle("opened", opened);
    links[index].setAttribute("aria-expanded", String(opened));
    for (let inner = index + 1; rows[inner]?.classList.contains("inside"); inner += 1) {
      rows[inner].classList.toggle("opened", opened);
    }
    draw();
  }

  function foldOf(index) {
    while (rows[index].classList.contains("inside")) index -= 1;
    return index;
  }

  function isShown(index) {
    return !rows[index].matches(chosen ? ".elsewhere" : ".inside:not(.opened)");
  }

  // With a table chosen, the rows that concern it stand open, and the others are hidden.
  function filter(table) {
    chosen = table;
    list.classList.toggle("filtered", table !== "");
    rows.forEach(row => {
      const concerned = row.dataset.tables.split(" ");
      const isConcerned = !row.matches(".folded") && (concerned.includes(table) || concerned[0] === "*");
      row.classList.toggle("elsewhere", table !== "" && !isConcerned);
    });
    if (!isShown(current)) select(rows.findIndex((row, index) => isShown(index)), {scroll: false});
    draw();
  }

  // Arrows from reads to the steps that made them stale, in the lanes of both.
  function draw() {
    arrows.replaceChildren();
    const ground = lanes.getBoundingClientRect();
    rows.forEach((row, index) => {
      const other = row.dataset.stale && rowOf.get(`step-${row.dataset.stale}`);
      if (other === undefined || other === "" || !isShown(index) || !isShown(other)) return;
      const from = anchor(row, ground), to = anchor(rows[other], ground);
      const isOneColumn = Math.abs(to.x - from.x) < 2, side = isOneColumn ? 1 : Math.sign(to.x - from.x);
      const x = from.x + (isOneColumn ? -14 : side * 6), end = to.x - side * 6, turn = Math.min(8, Math.abs(end - x));
      // down beside the lane, and along the upper edge of the row, where no text is
      arrow(`M${x} ${from.middle}V${to.top - turn}Q${x} ${to.top} ${x + Math.sign(end - x) * turn} ${to.top}H${end}`, "line");
      arrow(`M${to.x} ${to.top}l${-side * 9} -5v10z`, "head");
    });
  }

  function arrow(path, kind) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", "path");
    made.setAttribute("d", path);
    made.setAttribute("class", kind);
    arrows.append(made);
  }

  // Where the lane of a row's call is, the middle of the row, and its upper edge.
  function anchor(row, ground) {
    const own = all(`.rail.l${callOf(row)}, .chip`, row).find(each => each.offsetWidth) ?? row;
    const box = own.getBoundingClientRect(), whole = row.getBoundingClientRect();
    return {x: box.left + box.width / 2 - ground.left, middle: (whole.top + whole.bottom) / 2 - ground.top, top: whole.top + 4 - ground.top};
  }

  function foldAll() {
    const folds = rows.flatMap((row, index) => row.classList.contains("folded") ? [index] : []);
    const opened = folds.some(index => !rows[index].classList.contains("opened"));
    folds.forEach(index => fold(index, opened));
    draw();
    if (folds.length) select(isShown(current) ? current : foldOf(current), {focus: true});
  }

  // The next row that is shown, or the same where there is none.
  function next(direction) {
    let index = current + direction;
    while (rows[index] && !isShown(index)) index += direction;
    return rows[index] ? index : current;
  }

  function select(index, {focus = false, scroll = true, quiet = false} = {}) {
    if (index < 0 || index >= rows.length) return;
    if (current >= 0) {
      rows[current].classList.remove("current");
      links[current].removeAttribute("aria-current");
      links[current].tabIndex = -1;
    }
    all(".timeline a.current").forEach(bar => bar.classList.remove("current"));
    current = index;
    rows[index].classList.add("current");
    links[index].setAttribute("aria-current", "step");
    links[index].tabIndex = 0;
    bars.get(targets[index].replace("step-", ""))?.classList.add("current");
    show(index);
    if (focus) links[index].focus({preventScroll: true});
    if (scroll) reveal(rows[index]);
    if (!quiet) announce(index);
  }

  // The heads and, below a certain width, the panel lie over the rows.
  function reveal(row) {
    const box = row.getBoundingClientRect();
    const top = one(".heads").offsetHeight + 8;
    const covered = getComputedStyle(panel).position === "fixed" ? panel.offsetHeight : 0;
    const bottom = innerHeight - covered - 8;
    if (box.top < top) scrollBy({top: box.top - top});
    else if (box.bottom > bottom) scrollBy({top: Math.min(box.bottom - bottom, box.top - top)});
  }

  function rowOfStep(step) {
    for (let number = step; number > 0; number -= 1) {
      if (rowOf.has(`step-${number}`)) return rowOf.get(`step-${number}`);
    }
    return 0;
  }

  function marked(direction) {
    for (let count = 1; count <= rows.length; count += 1) {
      const index = (current + direction * count + rows.length * 2) % rows.length;
      if (rows[index].classList.contains("marked") && isShown(index)) return index;
    }
    return current;
  }

  const moves = {
    first: () => Math.max(rows.findIndex((row, index) => isShown(index)), 0),
    back: () => next(-1),
    on: () => next(1),
    last: () => rows.findLastIndex((row, index) => isShown(index)),
    marked: () => marked(1),
    before: () => marked(-1),
  };
  const keys = {j: "on", k: "back", n: "marked", p: "before"};
  const keysInRows = {ArrowDown: "on", ArrowUp: "back", Home: "first", End: "last"};  // elsewhere they scroll the page

  function copy(button) {
    const code = document.getElementById(button.dataset.copies) ?? button.previousElementSibling;
    const label = button.textContent;
    const say = text => {
      button.textContent = text;
      status.textContent = text;
      setTimeout(() => { button.textContent = label; }, 2000);
    };
    const selectIt = () => {
      const folded = code.closest("details");
      if (folded) folded.open = true;
      getSelection().selectAllChildren(code);
      say("Selected");
    };
    if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(() => say("Copied"), selectIt);
    else selectIt();
  }

  document.addEventListener("keydown", event => {
    const isInRows = event.target.closest(".rows") !== null;
    const move = keys[event.key] ?? (isInRows ? keysInRows[event.key] : undefined), folds = event.key === "f";
    if (!(move || folds) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest(".body, .output, select")) return;
    event.preventDefault();
    if (folds) foldAll();
    else select(moves[move](), {focus: !event.target.closest("button, summary")});
  });
  document.addEventListener("click", event => {
    const step = event.target.closest("[data-step]"), row = event.target.closest(".rows > li");
    const button = event.target.closest("button");
    if (step) {
      event.preventDefault();
      select(rowOfStep(Number(step.dataset.step)));
    } else if (row && !getSelection().toString()) {
      event.preventDefault();
      const index = rows.indexOf(row);
      if (row.classList.contains("folded")) fold(index, !row.classList.contains("opened"));
      else open(true);
      select(index, {focus: true});
    } else if (button?.dataset.goes) {
      select(moves[button.dataset.goes]());
    } else if (button?.matches(".opens")) {
      open(!panel.classList.contains("open"));
    } else if (button && "copies" in button.dataset) {
      copy(button);
    }
  });

  function open(opened) {
    panel.classList.toggle("open", opened);
    one(".opens", panel).setAttribute("aria-expanded", String(opened));
  }

  one(".rows").addEventListener("focusin", event => {
    const index = rows.indexOf(event.target.closest("li"));
    if (index >= 0 && index !== current) select(index);
  });
  one(".rows").addEventListener("pointerover", event => {
    const row = event.target.closest("li");
    if (row && event.pointerType === "mouse") show(rows.indexOf(row));
  });
  one(".rows").addEventListener("pointerleave", event => {
    if (event.pointerType === "mouse") show(current);
  });

  one(".filter select")?.addEventListener("change", event => filter(event.target.value));

  document.documentElement.classList.add("scripted");
  all("button[data-copies], .filter").forEach(each => { each.hidden = false; });
  if (!rows.length) return;
  panel.hidden = false;
  one("[data-goes=marked]").hidden = !one(".rows > .marked");
  links.forEach(link => { link.tabIndex = -1; });
  select(Math.max(rows.findIndex(row => row.classList.contains("marked")), 0), {scroll: false, quiet: true});
  new ResizeObserver(draw).observe(list);
})();
