// The browser, whoever looks with it, what is noticed whatever page they look at, and the world behind the pages.
import { mkdir, readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import path from "node:path";
import { chromium } from "playwright-core";

export const told = JSON.parse(process.argv[2]);
const here = path.dirname(fileURLToPath(import.meta.url));
export const shots = path.join(here, "../../target/screenshots");
const axe = await readFile(path.join(here, "node_modules/axe-core/axe.min.js"), "utf8");
await mkdir(shots, { recursive: true });

const outcomes = { passed: 0, failed: 0 };
export function check(what, good, detail = "") {
  outcomes[good ? "passed" : "failed"] += 1;
  if (!good) console.log(`FAILED: ${what}${detail ? `: ${detail}` : ""}`);
}

const browser = await chromium.launch({
  executablePath: process.env.EDGEWAY_CHROMIUM || "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});

// Who looks: made by the first sign-in.
export const NAME = "ada";
export const PASSWORD = "correct horse battery";
const session = { storage: undefined };
export function keepSession(storage) {
  session.storage = storage;
}

/** Scripts of strangers that ran, rules that were broken, and hosts that were asked, on any page of anybody. */
const harms = [];
const ours = new URL(told.open).host;

/** A browser of its own: language, theme, and what it complains of. */
export async function visitor({ language = "en", theme = "light", script = true, stranger = false, width = 1360 } = {}) {
  const context = await browser.newContext({
    storageState: stranger ? undefined : session.storage, ignoreHTTPSErrors: true, locale: language === "ja" ? "ja-JP" : "en-GB", colorScheme: theme,
    timezoneId: "Asia/Tokyo", viewport: { width, height: 900 }, javaScriptEnabled: script,
  });
  context.setDefaultTimeout(20000);
  const complaints = [];
  context.on("request", (request) => {
    const url = new URL(request.url());
    if (!["data:", "blob:"].includes(url.protocol) && url.host !== ours) harms.push(`${url.href} was asked for`);
  });
  await context.exposeBinding("harmed", ({ page }, what) => { harms.push(`${page.url()}: ${what}`); });
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => window.harmed(`${event.violatedDirective} forbids ${event.blockedURI} ${event.sample}`));
    let hurt;
    Object.defineProperty(window, "hurt", { get: () => hurt, set: (value) => { hurt = value; window.harmed(`a script of a stranger ran: ${value}`); } });
  });
  const page = await context.newPage();
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) complaints.push(message.text()); });
  page.on("pageerror", (error) => complaints.push(String(error)));
  return { context, page, complaints };
}

/** What is wrong with a page's accessibility, as far as axe-core thinks it serious. */
export async function violations(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id} (${nodes.length}): ${nodes[0].html.slice(0, 160)} ${nodes[0].failureSummary.split("\n")[1] ?? ""}`);
}

const lines = createInterface({ input: process.stdin });
const waiting = [];
lines.on("line", (line) => waiting.shift()?.(JSON.parse(line)));

/** Asks the world behind the pages to do something, or how it is: phones, servers, the edge. See src/asked.rs. */
export async function world(what, question = {}) {
  const answer = new Promise((resolve) => { waiting.push(resolve); });
  process.stdout.write(`@${JSON.stringify({ ask: what, ...question })}\n`);
  const { failed, ...rest } = await answer;
  if (failed !== undefined) throw new Error(`${what}: ${failed}`);
  return rest;
}

/** Takes a picture of a whole page. */
export async function picture(page, name) {
  await page.screenshot({ path: path.join(shots, `${name}.png`), fullPage: true });
}

/** Closes the browser and says how it went. */
export async function end() {
  check("nothing of a stranger ran, no rule was broken, and nobody else was asked", harms.length === 0, [...new Set(harms)].slice(0, 5).join(" | "));
  await browser.close();
  console.log(`browser: ${outcomes.passed} passed, ${outcomes.failed} failed`);
  process.exit(outcomes.failed === 0 ? 0 : 1);
}

// A part of it takes a minute at most; on a machine that does much else at once several.
const PART_MS = 240_000;

/** Whatever breaks off is a failure like any other, and what follows it is looked at all the same. */
export async function part(name, walk) {
  const began = Date.now();
  try {
    const late = new Promise((_, reject) => { setTimeout(() => reject(new Error("it does not end")), PART_MS).unref(); });
    await Promise.race([walk(), late]);
  } catch (error) {
    check(name, false, String(error.stack ?? error).split("\n").slice(0, 6).join(" / "));
  }
  console.log(`${name}: ${((Date.now() - began) / 1000).toFixed(1)} s`);
}
