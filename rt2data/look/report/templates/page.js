"use strict";
(() => {
  const words = new Intl.Collator("en", { numeric: true });
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? cell.textContent.trim() : cell.dataset.v === "" ? NaN : Number(cell.dataset.v);
  };
  const compare = (a, b) => {
    if (typeof a === "string" || typeof b === "string") return words.compare(String(a), String(b));
    return Number.isNaN(a) ? (Number.isNaN(b) ? 0 : 1) : Number.isNaN(b) ? -1 : a - b;
  };
  const sort = (table, column) => {
    const heads = [...table.tHead.rows[0].cells];
    const up = heads[column].getAttribute("aria-sort") !== "ascending";
    heads.forEach((head) => head.setAttribute("aria-sort", "none"));
    heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].map((row, at) => ({ row, at, key: value(row, column) }));
    rows.sort((a, b) => (up ? compare(a.key, b.key) : compare(b.key, a.key)) || a.at - b.at);
    table.tBodies[0].append(...rows.map((each) => each.row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tBodies[0].rows.length < 2) continue;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (!head.textContent.trim()) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sort(table, column));
    });
  }

  // Only what can be scrolled is a stop for the keyboard and a place of its own.
  const stops = () => {
    for (const box of document.querySelectorAll(".scroll")) {
      const over = box.scrollWidth > box.clientWidth;
      over ? box.setAttribute("tabindex", "0") : box.removeAttribute("tabindex");
      box.setAttribute("role", over ? "region" : "group");
    }
  };
  stops();
  addEventListener("resize", stops);

  const whole = (number) => Math.round(number).toLocaleString("en-US");
  const duration = (seconds) => {
    for (const [unit, size] of [["days", 86400], ["h", 3600], ["min", 60]]) {
      if (seconds >= 2 * size) return `${(seconds / size).toFixed(1)} ${unit}`;
    }
    return `${seconds.toFixed(1)} s`;
  };
  const amount = (bytes) => {
    for (const unit of ["B", "kB", "MB", "GB"]) {
      if (bytes < 1000) return `${unit === "B" ? bytes.toFixed(0) : bytes.toFixed(1)} ${unit}`;
      bytes /= 1000;
    }
    return `${bytes.toFixed(1)} TB`;
  };
  for (const form of document.querySelectorAll("form.cost")) {
    const { examples, tokens, bytes } = Object.fromEntries(Object.entries(form.dataset).map(([name, text]) => [name, Number(text)]));
    const field = form.elements;
    const reckon = () => {
      const [batch, gpus, rate] = ["batch", "gpus", "rate"].map((name) => field[name].valueAsNumber);
      const right = batch >= 1 && gpus >= 1 && rate > 0;
      const show = (name, text, known = true) => { field[name].textContent = right && known ? text : "–"; };
      show("steps", whole(Math.ceil(examples / batch)));
      show("per_step", whole((tokens / examples) * batch), tokens > 0 && examples > 0);
      show("time", duration(examples / (gpus * rate)));
      show("reading", amount((bytes / examples) * gpus * rate), examples > 0);
    };
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", reckon);
    for (const input of form.querySelectorAll("input")) input.disabled = false;
    reckon();
  }
})();
