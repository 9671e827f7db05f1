// Looks at every page, in both languages, light and dark: what it weighs, how soon it is seen, whether it is accessible, whether
// it lives, and whether it can be used by keyboard, on a small screen, and without scripts.
import { check, picture, told, violations, visitor } from "./visitor.mjs";

// A page loads this much at most, with everything it needs and without compression.
const BYTES_MAX = 300 * 1024;
// It is seen within this; on a machine that does much else at once it may take longer, which is said, and thrice as long is a fault.
const PAINT_MS = 1000;

/** What a page loads, in bytes of bodies as they are. */
async function weigh(page, url) {
  let bytes = 0;
  const bodies = [];
  const count = (answer) => {
    // The stream has no end; what is asked again later is no part of loading.
    if (!answer.url().endsWith("/live")) bodies.push(answer.body().then((body) => { bytes += body.length; }, () => {}));
  };
  page.on("response", count);
  const answer = await page.goto(url, { waitUntil: "load" });
  await page.waitForTimeout(50);
  page.off("response", count);
  await Promise.all(bodies);
  // A page that is loaded need not have been painted yet: the observer hears of a paint that was, and of one that comes.
  const paint = await page.evaluate(() => new Promise((resolve) => {
    const seen = (entry) => entry.name === "first-contentful-paint" && resolve(entry.startTime);
    new PerformanceObserver((list) => list.getEntries().forEach(seen)).observe({ type: "paint", buffered: true });
    setTimeout(() => resolve(null), 5000);
  }));
  return { status: answer.status(), bytes, paint };
}

/** All pages of the menu. */
export async function menuPages() {
  const first = await visitor();
  await first.page.goto(told.open, { waitUntil: "load" });
  const menu = async () => first.page.$$eval("aside .pages a", (links) => links.map((link) => new URL(link.href).pathname));
  const sections = await first.page.$$eval(".sections a", (links) => links.map((link) => link.href));
  const pages = [];
  for (const section of sections) {
    await first.page.goto(section);
    pages.push(...await menu());
  }
  await first.page.goto(told.open, { waitUntil: "load" });
  check("there is a menu", sections.length === 4 && pages.length >= 15, pages.join(" "));
  check("the first page is the overview", new URL(first.page.url()).pathname === "/status/overview", first.page.url());
  await first.context.close();
  return pages;
}

/** Every page, in both languages, light and dark. */
export async function everyPage(pages) {
  let heaviest = 0;
  let slowest = 0;
  for (const language of ["en", "ja"]) {
    for (const theme of ["light", "dark"]) {
      for (const at of pages) {
        const { context, page, complaints } = await visitor({ language, theme });
        const name = `${at.split("/").slice(1).join("-")}.${language}.${theme}`;
        const { status, bytes, paint } = await weigh(page, told.open + at);
        check(`${name} is there`, status === 200, String(status));
        check(`${name} weighs little`, bytes > 1000 && bytes < BYTES_MAX, `${bytes} bytes`);
        check(`${name} is seen soon`, paint !== null && paint < 3 * PAINT_MS, `${paint} ms`);
        heaviest = Math.max(heaviest, bytes);
        slowest = Math.max(slowest, paint ?? 0);
        check(`${name} says its language`, (await page.getAttribute("html", "lang")) === language);
        await picture(page, name);
        const wrong = await violations(page);
        check(`${name} is accessible`, wrong.length === 0, wrong.join(" | "));
        check(`${name} has nothing to complain of`, complaints.length === 0, complaints.join(" | "));
        await context.close();
      }
    }
  }
  console.log(`heaviest page: ${heaviest} bytes; slowest first paint: ${Math.round(slowest)} ms (wanted: ${PAINT_MS})`);
}

/** Every link of every page leads somewhere. */
export async function links(pages) {
  const { context, page } = await visitor();
  const seen = new Set();
  for (const at of pages) {
    await page.goto(told.open + at);
    for (const href of await page.$$eval("a[href]", (links) => links.map((link) => link.href))) seen.add(href.split("#")[0]);
  }
  for (const href of seen) {
    check(`${href} stays here`, href.startsWith(told.open));
    const answer = await context.request.get(href);
    check(`${href} leads somewhere`, answer.status() === 200, String(answer.status()));
  }
  await context.close();
}

/** The services page, in the words of these systems. */
export async function serviceRows() {
  for (const [language, rows] of [
    ["en", ["Unified Communications status", "Unified CM registrations", "IM and Presence Service", "XMPP Federation", "Single Sign-On support", "OAuth token with refresh"]],
    ["ja", ["ユニファイドコミュニケーションのステータス", "Unified CM の登録", "IM and Presence Service", "XMPP フェデレーション", "シングルサインオンのサポート", "OAuth トークンと更新"]],
  ]) {
    const { context, page } = await visitor({ language });
    await page.goto(`${told.open}/status/unified-communications?node=core1`);
    const found = await page.$$eval(".node table.services:not(.beside) tr > th", (cells) => cells.map((cell) => cell.textContent.trim()));
    check(`rows of the services page in ${language}`, JSON.stringify(found) === JSON.stringify(rows), found.join(" | "));
    const updated = await page.textContent("h1 .last");
    check(`when it was updated in ${language}`, /\d\d:\d\d:\d\d (JST|GMT\+9)/.test(updated), updated);
    await context.close();
  }
}

/** It lives: the clock goes on by itself, without the focus being lost. */
export async function lives() {
  const { context, page } = await visitor();
  await page.goto(`${told.open}/status/overview`, { waitUntil: "load" });
  const clock = () => page.textContent(".updated time");
  const before = await clock();
  await page.focus("#live .scroll");
  await page.waitForFunction((before) => document.querySelector(".updated time").textContent !== before, before, { timeout: 15000 }).catch(() => {});
  check("the page looks again by itself", (await clock()) !== before);
  check("and leaves the focus where it was", await page.evaluate(() => document.activeElement.matches("#live .scroll")));
  await page.waitForFunction(() => document.querySelector(".u-over, .chart canvas"), null, { timeout: 15000 }).catch(() => {});
  check("charts are drawn", (await page.$$(".chart canvas")).length === 4);
  await context.close();
}

/** Without scripts. */
export async function withoutScripts(pages) {
  const { context, page } = await visitor({ script: false });
  for (const at of pages) {
    await page.goto(told.open + at);
    check(`${at} without scripts`, await page.isVisible("h1"));
  }
  await page.goto(`${told.open}/status/overview`);
  check("there is a way to refresh", await page.isVisible(".updated a"));
  check("times say their zone", /\d UTC/.test(await page.textContent(".updated time")));
  check("charts have tables", (await page.$$("figure details")).length === 4);
  await context.close();
}

/** By keyboard only: past the menu into the page, to another page, to another language. */
export async function byKeyboard() {
  const { context, page } = await visitor();
  await page.goto(`${told.open}/status/overview`);
  const focused = () => page.evaluate(() => ({ text: document.activeElement.textContent.trim(), tag: document.activeElement.tagName, visible: getComputedStyle(document.activeElement).outlineStyle !== "none" }));
  await page.keyboard.press("Tab");
  check("the first stop skips the menu", (await focused()).text === "Skip to the page", (await focused()).text);
  await page.keyboard.press("Enter");
  check("and leads to the page", await page.evaluate(() => document.activeElement.id === "main" || location.hash === "#main"));
  await page.goto(`${told.open}/status/overview`);
  let found = false;
  for (let step = 0; step < 40 && !found; step += 1) {
    await page.keyboard.press("Tab");
    const now = await focused();
    if (step > 0) check(`stop ${step} is seen`, now.visible, `${now.tag} ${now.text.slice(0, 40)}`);
    found = now.tag === "A" && now.text === "Alarms";
  }
  check("a page of the menu is reached by keyboard", found);
  await page.keyboard.press("Enter");
  await page.waitForURL("**/status/alarms*");
  await page.focus(".tools details:first-child summary");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForLoadState();
  await page.waitForFunction(() => document.documentElement.lang === "ja", null, { timeout: 10000 }).catch(() => {});
  check("the language is changed by keyboard", (await page.getAttribute("html", "lang")) === "ja");
  await context.close();
}

/** Small screens: nothing is cut off but what scrolls by itself. Targets are large enough to be hit. */
export async function smallScreens(pages) {
  const { context, page } = await visitor();
  await page.setViewportSize({ width: 375, height: 812 });
  for (const at of pages) {
    await page.goto(told.open + at);
    await picture(page, `${at.split("/").slice(1).join("-")}.small`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    check(`${at} fits a small screen`, wide <= 1, `${wide} pixels too wide`);
    const small = await page.$$eval("button, select, input:not([type=hidden]), summary, nav a", (all) =>
      all.filter((one) => one.getClientRects().length && (one.getBoundingClientRect().height < 24 || one.getBoundingClientRect().width < 24)).map((one) => one.outerHTML.slice(0, 80)));
    check(`${at} has large targets`, small.length === 0, small.join(" "));
  }

  await context.close();
}

/** Without a session nothing is shown, and one is asked to sign in. */
export async function strangersSeeNothing() {
  for (const language of ["en", "ja"]) {
    const { context, page } = await visitor({ language, stranger: true });
    {
      for (const at of ["/sign-in", "/first-sign-in"]) {
        await page.goto(told.open + at);
        check(`${at} is in ${language}`, (await page.getAttribute("html", "lang")) === language);
        const wrong = await violations(page);
        check(`${at} in ${language} is accessible`, wrong.length === 0, wrong.join(" | "));
        await picture(page, `${at.slice(1)}.${language}.light`);
      }
    }
    await page.goto(`${told.open}/status/calls?user=a`);
    const at = new URL(page.url());
    check("a stranger is asked to sign in", at.pathname === "/sign-in" && at.searchParams.get("next") === "/status/calls?user=a", page.url());
    const live = await context.request.get(`${told.open}/status/calls`, { headers: { "hx-request": "true" }, maxRedirects: 0 });
    check("and so is a script", live.status() === 401, String(live.status()));
    await context.close();
  }
}

/** Last, since it ends something: an operator disconnects a chat, asked once more before. */
export async function disconnects() {
  const { context, page } = await visitor();
  await page.goto(`${told.open}/status/chats?node=core1`);
  const rows = () => page.$$eval("#live tbody tr", (all) => all.length);
  if ((await rows()) > 0) {
    let asked = 0;
    page.once("dialog", (dialog) => { asked += 1; dialog.dismiss(); });
    await page.click("button.danger");
    check("whoever says no ends nothing", asked === 1 && new URL(page.url()).searchParams.get("outcome") === null, page.url());
    page.once("dialog", (dialog) => dialog.accept());
    await page.click("button.danger");
    await page.waitForURL("**outcome=done*", { timeout: 10000 }).catch(() => {});
    check("a chat is disconnected", await page.isVisible("[role=status]"), page.url());
  } else {
    check("there are chats at core1", false);
  }
  await context.close();
}
