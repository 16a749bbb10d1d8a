// Opens a page as a person does and says what it met, as JSON on stdout: node look.mjs PAGE FOLDER NAME THEMES WIDTHS
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [path, folder, name, themes, widths, browser] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const address = pathToFileURL(path).href;
const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

const met = { console: [], requests: [], views: [] };
const home = mkdtempSync(join(tmpdir(), "report-browser-"));
const context = await chromium.launchPersistentContext(home, { executablePath: browser, args: flags, headless: true });

const facts = () => ({
  hurt: window.hurt ?? null,
  title: document.title,
  scripts: document.scripts.length,
  handlers: [...document.querySelectorAll("*")].filter((e) => [...e.attributes].some((a) => a.name.startsWith("on"))).length,
  links: [...document.querySelectorAll("[href], [src]")].map((e) => e.getAttribute("href") ?? e.getAttribute("src")).filter((a) => !/^(#|data:)/.test(a)),
  images: document.images.length,
  broken: [...document.images].filter((image) => !image.complete || !image.naturalWidth).length,
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  wide: [...document.querySelectorAll("main *")].filter((e) => !e.closest(".scroll") && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .slice(0, 8).map((e) => `${e.tagName}.${e.className.baseVal ?? e.className}`),
  stats: JSON.parse(document.getElementById("stats").textContent).length,
});

const sorted = () => {
  const table = [...document.querySelectorAll("table.sortable")].find((t) => t.tBodies[0].rows.length > 2 && t.querySelector("th.num button"));
  if (!table) return null;
  const head = table.querySelector("th.num");
  const column = head.cellIndex;
  const values = () => [...table.tBodies[0].rows].map((row) => Number(row.cells[column].dataset.v));
  table.id = "sorted";
  return { column, state: head.getAttribute("aria-sort"), values: values() };
};

const state = () => {
  const table = document.getElementById("sorted");
  const head = table.querySelector("th.num");
  return { state: head.getAttribute("aria-sort"), values: [...table.tBodies[0].rows].map((row) => Number(row.cells[head.cellIndex].dataset.v)) };
};

async function view(theme, width) {
  const page = await context.newPage();
  page.on("console", (message) => met.console.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => met.console.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => { met.console.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => request.url().startsWith("data:") || met.requests.push(request.url()));
  await page.emulateMedia({ colorScheme: theme });
  await page.setViewportSize({ width, height: width < 600 ? 844 : 900 });
  await page.goto(address);
  const found = { theme, width, ...(await page.evaluate(facts)) };
  const tall = Math.min(16000, await page.evaluate(() => document.documentElement.scrollHeight)); // higher ones cannot be taken
  await page.screenshot({ path: join(folder, `${name}-${width}-${theme}.png`), fullPage: true, clip: { x: 0, y: 0, width, height: tall } });
  // The tester is put into a world of its own: the page's policy forbids scripts that are not its own, in the page's own world.
  const debug = await context.newCDPSession(page);
  const { frameTree } = await debug.send("Page.getFrameTree");
  const { executionContextId } = await debug.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id });
  const ask = `${axe}; axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] }).then((r) => JSON.stringify({
    passes: r.passes.length, violations: r.violations.map((v) => ({ id: v.id, nodes: v.nodes.slice(0, 4).map((n) => n.html.slice(0, 160) + " " + (n.any[0]?.message ?? "")), count: v.nodes.length })) }))`;
  const { result, exceptionDetails } = await debug.send("Runtime.evaluate", { expression: ask, contextId: executionContextId, awaitPromise: true });
  found.axe = exceptionDetails ? { failed: exceptionDetails.exception?.description } : JSON.parse(result.value);
  found.before = await page.evaluate(sorted);
  if (found.before) {
    await page.locator("#sorted th.num button").first().click();
    found.clicked = await page.evaluate(state);
    await page.locator("#sorted th.num button").first().focus();
    await page.keyboard.press("Enter");
    found.pressed = await page.evaluate(state);
  }
  const batch = page.locator("form.cost input[name=batch]").first();
  if (await batch.count()) {
    const steps = page.locator("form.cost output[name=steps]").first();
    found.steps = [await steps.textContent()];
    await batch.fill("1");
    found.steps.push(await steps.textContent());
    await batch.fill("0");
    found.steps.push(await steps.textContent());
  }
  met.views.push(found);
  await page.close();
}

// Printed: light, whole, nothing that sticks. Sent to paper too, so that somebody can look at it.
async function print() {
  const page = await context.newPage();
  await page.emulateMedia({ media: "print", colorScheme: "dark" });
  await page.goto(address);
  met.print = await page.evaluate(() => ({
    ground: getComputedStyle(document.documentElement).getPropertyValue("--paper").trim(),
    sticky: [...document.querySelectorAll("*")].filter((e) => e.getClientRects().length && ["sticky", "fixed"].includes(getComputedStyle(e).position)).length,
  }));
  await page.pdf({ path: join(folder, `${name}.pdf`), format: "A4", printBackground: true, margin: { top: "15mm", bottom: "15mm", left: "14mm", right: "14mm" } });
  await page.close();
}

async function withoutScript() {
  const page = await context.newPage();
  const debug = await context.newCDPSession(page);
  await debug.send("Emulation.setScriptExecutionDisabled", { value: true });
  await page.goto(address);
  met.still = { tables: await page.locator("table tbody tr").count(), buttons: await page.locator("thead button").count() };
  await page.close();
}

try {
  for (const theme of themes.split(",")) for (const width of widths.split(",").map(Number)) await view(theme, width);
  await print();
  await withoutScript();
  met.requests = met.requests.filter((url) => url !== address);
} finally {
  await context.close();
  rmSync(home, { recursive: true, force: true });
}
console.log(JSON.stringify(met));
