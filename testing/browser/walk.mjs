// Clicks through what an operator does on an ordinary day, by the names that can be read, and looks after each step at what
// the system then really does: at its API, at the edge, at the servers inside.
import { check, keepSession, NAME, PASSWORD, picture, told, violations, visitor, world } from "./visitor.mjs";
import { WORDS } from "./words.mjs";

const DETAIL = 220;

class Walk {
  /** `domain`: the one this walk adds; `user`: somebody nobody else signs in as. */
  constructor({ language, script, domain, user }) {
    Object.assign(this, { language, script, domain, user, words: WORDS[language] });
    this.name = `${language}${script ? "" : ", without scripts"}`;
  }

  check(what, good, detail = "") {
    check(`${what} (${this.name})`, good, String(detail).slice(0, DETAIL));
  }

  async begin() {
    const { context, page, complaints } = await visitor({ language: this.language, script: this.script, stranger: true });
    Object.assign(this, { context, page, complaints });
    const { signIn } = this.words;
    await page.goto(`${told.open}/configuration/history`);
    await page.getByLabel(signIn.name, { exact: true }).fill(NAME);
    await page.getByLabel(signIn.password, { exact: true }).fill(PASSWORD);
    await page.getByRole("button", { name: signIn.go, exact: true }).click();
    await page.waitForURL("**/configuration/history");
    this.check("sign-in leads to where one wanted to go", (await page.getAttribute("html", "lang")) === this.language);
  }

  async api(path) {
    const answer = await this.context.request.get(`${told.open}/api/v1/${path}`);
    if (answer.status() !== 200) throw new Error(`${path}: ${answer.status()}`);
    return answer.json();
  }

  async revision() {
    return (await this.api("configuration")).revision;
  }

  /** To a page, by the menu. */
  async to(section, name) {
    const { page, words } = this;
    await page.getByRole("navigation", { name: words.sections }).getByRole("link", { name: section, exact: true }).click();
    await page.getByRole("navigation", { name: words.pages, exact: true }).getByRole("link", { name, exact: true }).click();
    await page.waitForLoadState();
    this.check(`${name} is led to`, (await page.textContent("h1")).trim().startsWith(name), await page.textContent("h1"));
  }

  /** Presses what may ask once more. */
  async press(button, { asks = false } = {}) {
    let asked = 0;
    const answer = (dialog) => { asked += 1; dialog.accept(); };
    if (this.script) this.page.on("dialog", answer);
    await button.click();
    await this.page.waitForLoadState();
    if (this.script) {
      this.page.off("dialog", answer);
      this.check("one is asked before", asked === (asks ? 1 : 0), asked);
    }
  }

  /** The plan that is shown, and what comes of applying it: the new revision. */
  async apply({ settings, comment = "", confirm }) {
    const { page, words } = this;
    const before = await this.revision();
    this.check("the change is shown first", (await page.textContent("h1")) === words.planTitle, await page.textContent("main"));
    await page.getByText(words.planAbout, { exact: true }).waitFor();
    const heads = await page.$$eval("main thead th", (cells) => cells.map((cell) => cell.textContent));
    this.check("with what there is, what would be, and what it takes", JSON.stringify(heads) === JSON.stringify(words.planSettings), heads);
    const rows = await page.$$eval("main tbody tr", (all) => all.map((row) => [...row.children].map((cell) => cell.textContent.trim())));
    const shown = Object.fromEntries(rows.map(([path, was, then, impact]) => [path, { was, then, impact }]));
    for (const [path, then] of Object.entries(settings)) {
      this.check(`${path} is in the plan`, shown[path]?.then.includes(then) && shown[path].was !== shown[path].then, JSON.stringify(rows));
    }
    this.check("and nothing else", rows.length === Object.keys(settings).length, JSON.stringify(rows));
    this.check("what it takes is said in the reader's words", rows.every(([, , , impact]) => words.impacts.includes(impact)), JSON.stringify(rows));
    this.check("nothing has changed by showing it", (await this.revision()) === before);
    await this.look("plan");
    if (comment) await page.getByLabel(words.comment, { exact: true }).fill(comment);
    if (confirm) await page.getByLabel(words.confirmWithin, { exact: true }).selectOption({ label: confirm });
    await page.getByRole("button", { name: words.apply, exact: true }).click();
    await page.waitForURL("**/configuration/history?done=*");
    const now = await this.revision();
    this.check("there is one revision more", now === before + 1, now);
    this.check("it is said which holds", (await page.getByRole("status").first().textContent()).trim() === words.holds(now), await page.textContent("main"));
    return now;
  }

  async look(name) {
    // axe-core is a script, too: it has looked at these very pages in the walks before.
    const wrong = this.script ? await violations(this.page) : [];
    this.check(`${name} is accessible`, wrong.length === 0, wrong.join(" | "));
    await picture(this.page, `walk.${name}.${this.language}${this.script ? "" : ".plain"}`);
  }

  async signs(domain = this.domain) {
    return world("sign_in", { domain, user: `${this.user}5` });
  }

  async addDomain() {
    const { page, words, domain } = this;
    const { why } = await this.signs();
    this.check("the domain is not served yet", why !== undefined, why);
    const before = await this.revision();
    await this.to(words.configuration, words.unified);
    const field = page.getByLabel(words.newDomain, { exact: true });
    const add = () => page.locator("form", { has: field }).getByRole("button", { name: words.add, exact: true }).click();
    const bad = "<img src=x onerror=window.hurt=7>";
    await field.fill(bad);
    await add();
    await page.getByRole("alert").first().waitFor();
    this.check("what is no domain is refused", (await page.getByRole("alert").first().textContent()).trim() === words.notSaved, await page.textContent("main"));
    this.check("beside its field", words.noDomain.test(await this.wrongOf(field)), await this.wrongOf(field));
    this.check("and can be corrected there", (await field.inputValue()) === bad);
    await this.look("domain-refused");
    this.check("and nothing has changed", (await this.revision()) === before);
    await field.fill(domain);
    await add();
    await page.waitForLoadState();
    const made = await this.apply({ settings: { domains: domain }, comment: `${domain}, ${this.name}` });
    this.check("the API has it", (await this.api("configuration")).document.includes(`"${domain}"`));
    const revision = await this.api(`configuration/revisions/${made}`);
    this.check("and who made it, and why", revision.author.endsWith(NAME) && revision.comment === `${domain}, ${this.name}`, JSON.stringify(revision));
    await this.to(words.status, words.unified);
    const listed = () => page.locator(".node[data-node=core1] > ul").first().textContent();
    await this.until(async () => (await listed()).includes(domain), "the status lists it", { by: listed });
    const signed = await this.signs();
    this.check("the edge serves it: get_edge_config, with its cookie", signed.ok === true, signed.why);
    return made;
  }

  /** What is said to be wrong with a field, to whoever sees it and to whoever hears it. */
  async wrongOf(field) {
    if ((await field.getAttribute("aria-invalid")) !== "true") return "";
    const ids = (await field.getAttribute("aria-describedby")).split(" ");
    const texts = await Promise.all(ids.filter((id) => id.endsWith("-wrong")).map((id) => this.page.locator(`[id="${id}"]`).textContent()));
    return texts.join(" ").trim();
  }

  async setAdvanced() {
    const { page, words } = this;
    await this.to(words.configuration, words.unified);
    const by = (name) => page.getByLabel(name, { exact: true });
    const form = page.getByRole("form", { name: words.advanced, exact: true });
    const numbers = [words.refreshInterval, words.cleanupInterval, words.authorizations, words.ratePeriod];
    const labels = await form.locator(".label, label").allTextContents();
    const figure = [words.pathHeaders, ...numbers, words.stun];
    this.check("the section has the rows of the source's figure", JSON.stringify(labels.slice(1)) === JSON.stringify(figure), labels.join(" | "));
    for (const link of [words.allowList, words.automaticRules]) this.check(`${link} is there`, await form.getByRole("link", { name: link, exact: true }).isVisible());
    const values = async () => Promise.all(numbers.map((name) => by(name).inputValue()));
    this.check("with the source's defaults", JSON.stringify(await values()) === JSON.stringify(["480", "720", "8", "300"]), await values());
    for (const name of [words.pathHeaders, words.stun]) this.check(`${name} is on`, (await by(name).inputValue()) === "on");

    const before = await this.revision();
    const bad = ["60", "many", "0", "120"];
    for (const [at, name] of numbers.entries()) await by(name).fill(bad[at]);
    await by(words.stun).selectOption({ label: words.off });
    await page.getByRole("button", { name: words.save, exact: true }).click();
    await page.getByRole("alert").first().waitFor();
    this.check("a bad value is refused", (await page.getByRole("alert").first().textContent()).trim() === words.notSaved, await page.textContent("main"));
    this.check("with its range, by the field", (await this.wrongOf(by(words.cleanupInterval))) === words.wrongNumber(1, 10080), await this.wrongOf(by(words.cleanupInterval)));
    this.check("each of them", (await this.wrongOf(by(words.authorizations))) === words.wrongNumber(1, 1000), await this.wrongOf(by(words.authorizations)));
    this.check("the good ones are not marked", (await this.wrongOf(by(words.refreshInterval))) === "" && (await this.wrongOf(by(words.ratePeriod))) === "");
    this.check("nothing that was typed is lost", JSON.stringify(await values()) === JSON.stringify(bad) && (await by(words.stun).inputValue()) === "off", await values());
    this.check("and nothing is saved", (await this.revision()) === before);
    await this.look("advanced-refused");

    for (const [at, name] of numbers.entries()) await by(name).fill(["60", "90", "5", "120"][at]);
    await by(words.pathHeaders).selectOption({ label: words.off });
    await page.getByRole("button", { name: words.save, exact: true }).click();
    await page.waitForLoadState();
    const settings = {
      "sip.path_headers": "false", "sip.stun_keepalive": "false",
      "sign_in.credentials_refresh_interval": "60m", "sign_in.credentials_cleanup_interval": "90m",
      "sign_in.maximum_authorizations_per_period": "5", "sign_in.rate_control_period": "120s",
    };
    const made = await this.apply({ settings, comment: "Advanced", confirm: words.twoMinutes });

    // It waits, and is confirmed.
    this.check("it is said that it goes back by itself", (await page.textContent("main")).includes(words.waits(made)), await page.textContent("main"));
    this.check("and it waits", (await this.api("configuration")).waiting?.revision === made);
    await this.look("waiting");
    await page.getByRole("button", { name: words.confirm, exact: true }).click();
    await page.waitForURL("**/configuration/history?outcome=done");
    this.check("it is confirmed", (await page.getByRole("status").first().textContent()).trim() === words.confirmed);
    this.check("and waits no more", (await this.api("configuration")).waiting === null);

    // Five authorizations, and the sixth is one too many.
    const { statuses } = await world("authorize", { user: `${this.user}1`, times: 6 });
    this.check("the edge refuses the sixth of five authorizations", JSON.stringify(statuses) === "[200,200,200,200,200,429]", statuses);
    const { seconds = null } = await this.signs();
    this.check("a session holds for the 60 minutes", seconds !== null && seconds > 0 && seconds <= 3600, seconds);
    await this.to(words.configuration, words.unified);
    this.check("the page says what holds", JSON.stringify(await values()) === JSON.stringify(["60", "90", "5", "120"]), await values());
    return made;
  }

  async discover() {
    const { page, words } = this;
    const { unity, ca, user, password } = told;
    await world("power", { node: unity, on: false });
    await this.to(words.configuration, words.servers);
    this.check("no mailbox can be reached yet", (await world("mailbox", { user: `${this.user}6` })).why !== undefined);
    await page.getByLabel(words.product, { exact: true }).selectOption({ label: words.unity });
    await page.getByLabel(words.address, { exact: true }).fill(`${unity}:8443`);
    await page.getByLabel(words.user, { exact: true }).fill(user);
    await page.getByLabel(words.password, { exact: true }).fill(password);
    await page.getByLabel(words.ca, { exact: true }).fill("not/there.pem");
    await page.getByRole("button", { name: words.addServer, exact: true }).click();
    await page.getByRole("alert").first().waitFor();
    this.check("a file that is not there is refused", (await page.getByRole("alert").first().textContent()).trim() === words.notSaved || (await page.textContent("main")).includes("not/there.pem"), await page.textContent("main"));
    this.check("the rest of the form is still there", (await page.getByLabel(words.address, { exact: true }).inputValue()) === `${unity}:8443` && (await page.getByLabel(words.user, { exact: true }).inputValue()) === user);
    this.check("but no password", (await page.getByLabel(words.password, { exact: true }).inputValue()) === "");
    await page.getByLabel(words.password, { exact: true }).fill(password);
    await page.getByLabel(words.ca, { exact: true }).fill(ca);
    await page.getByRole("button", { name: words.addServer, exact: true }).click();
    await page.waitForURL("**/configuration/history?done=*");
    this.check("the password is nowhere in the text", !(await this.api("configuration")).document.includes(password));

    await this.to(words.configuration, words.servers);
    const row = page.locator("#live tbody tr", { hasText: unity });
    await this.until(async () => (await row.textContent()).includes(words.failed), "a server that does not answer is said to fail");
    await this.look("server-down");
    await world("power", { node: unity, on: true });
    await page.getByRole("button", { name: words.discover, exact: true }).click();
    await page.waitForLoadState();
    const status = (await page.getByRole("status").first().textContent()).trim();
    this.check("discovering it is told", words.done.test(status) || status !== "", status);
    await this.look("discovered");
    await this.to(words.configuration, words.servers);
    await this.until(async () => (await row.textContent()).includes(words.active), "it is active then");
    const { servers } = await this.api("servers");
    const found = servers.find(({ publisher }) => publisher === unity);
    this.check("the API knows its version", found?.cluster?.version.startsWith("12.5"), JSON.stringify(found));
    const mailbox = await world("mailbox", { user: `${this.user}6` });
    this.check("a user reaches the mailbox through the edge", mailbox.ok === true, mailbox.why);
  }

  /** Looks at the page until something is so: by itself with scripts, by hand without. */
  async until(is, what, { seconds = 20, by } = {}) {
    const end = Date.now() + seconds * 1000;
    let good = false;
    while (!(good = await is().catch(() => false)) && Date.now() < end) {
      await this.page.waitForTimeout(250);
      if (!this.script) await this.page.getByRole("link", { name: this.words.again, exact: true }).click();
    }
    this.check(what, good, by ? await by() : await this.page.textContent("main"));
    return good;
  }

  async refresh({ listed }) {
    const { page, words } = this;
    const { second } = told;
    await world("list", { node: second, listed });
    await world("slow", { seconds: 3 });
    await this.to(words.configuration, words.servers);
    if (this.script) {
      // The page that is left when the answer is there notes what it shows until then.
      await page.evaluate(() => {
        const note = () => { sessionStorage.shown = document.querySelector("#live .notice.busy")?.textContent.trim() || sessionStorage.shown || ""; };
        new MutationObserver(note).observe(document.querySelector("#live"), { subtree: true, childList: true, characterData: true });
      });
    }
    await page.getByRole("button", { name: words.refresh, exact: true }).click();
    await page.getByText(words.previewed, { exact: true }).waitFor();
    await world("slow", { seconds: 0 });
    if (this.script) {
      const text = await page.evaluate(() => sessionStorage.shown ?? "");
      this.check("whoever waits sees how far it is", words.reading.test(text), text);
    }
    const wanted = listed ? words.nodeNew(second) : words.nodeGone(second);
    this.check("what has changed is shown first", (await page.textContent("main")).includes(wanted), await page.textContent("main"));
    const zones = async () => JSON.stringify((await this.api("nodes/core1")).registrars ?? (await this.api("nodes/core1")).status?.registrars);
    this.check("and nothing is taken yet", (await zones()).includes(second) !== listed, await zones());
    await this.look("refresh");
    await page.getByRole("button", { name: words.take, exact: true }).click();
    await page.getByRole("status").first().waitFor();
    this.check("then it is taken", words.done.test((await page.getByRole("status").first().textContent()).trim()), await page.textContent("main"));
    this.check("and has a zone, or no longer", (await zones()).includes(second) === listed, await zones());
  }

  async maintain() {
    const { page, words } = this;
    await world("gather", { chatters: [{ user: `${this.user}3` }, { user: `${this.user}4` }] });
    await this.to(words.maintenance, words.mode);
    const panel = page.locator("section.panel", { has: page.getByRole("heading", { name: /^core1/ }) });
    this.check("that nobody serves in its place is said before", (await panel.textContent()).includes(words.alone), await panel.textContent());
    this.check("a deadline can be set, and that it stays", (await panel.getByLabel(words.deadline).count()) === 1 && (await panel.getByLabel(words.keep).count()) === 1);
    const state = () => panel.locator("p .badge").first().textContent().then((text) => text.trim());
    this.check("it serves", (await state()) === words.active, await state());
    await this.press(panel.getByRole("button", { name: words.start, exact: true }), { asks: true });
    await this.until(async () => (await state()) === words.draining(6), "it drains: a call, two chats, three registrations", { by: state });
    const text = await panel.textContent();
    this.check("what is left is said in words", text.includes(words.left(1, 2, 3)), text);
    const maintenance = await this.api("maintenance/core1");
    this.check("the API says the same", JSON.stringify(maintenance).includes("\"calls\":1"), JSON.stringify(maintenance));
    this.check("a new call is refused", (await world("call")).status === 503);
    this.check("the call that is there goes on", (await world("talks")).ok === true);
    await this.look("draining");
    // Only what goes on without a reload may change the page from here on.
    if (this.script) await page.evaluate(() => { window.sameDocument = true; });
    await world("hang_up");
    await this.until(async () => (await state()) === words.draining(5), "the call ends, and five are left", { by: state });
    await world("leave");
    await this.until(async () => (await state()) === words.drained, "everybody has left, and it is inactive", { by: state });
    if (this.script) this.check("all that without a reload", await page.evaluate(() => window.sameDocument === true));
    const parts = await panel.locator("dl dd").allTextContents();
    this.check("each of its services is", parts.length >= 4 && parts.every((part) => part.trim() === words.drained), parts.join(" | "));
    await this.look("drained");
    await this.press(panel.getByRole("button", { name: words.cancel, exact: true }));
    await this.until(async () => (await state()) === words.active, "it serves again once that is cancelled", { by: state });
    await world("gather", { chatters: [{ user: `${this.user}3` }, { user: `${this.user}4` }] });
    const call = await world("talks");
    this.check("and calls are made again", call.ok === true, JSON.stringify(call));
    await world("leave");
  }

  async rollBack(to) {
    const { page, words } = this;
    const texts = async () => (await this.api("configuration")).document;
    const wanted = (await this.api(`configuration/revisions/${to}`)).document;
    const before = await this.revision();
    await this.to(words.configuration, words.history);
    await page.getByRole("link", { name: words.changedBy(to + 1), exact: true }).click();
    await page.waitForLoadState();
    this.check("what a revision changed is shown", (await page.getByRole("heading", { name: words.changedBy(to + 1), exact: true }).count()) === 1 && (await page.textContent("main")).includes(this.domain), await page.textContent("main"));
    await this.look("history");
    await this.press(page.getByRole("button", { name: words.rollBack(to), exact: true }), { asks: true });
    await page.waitForURL("**/configuration/history?done=*");
    this.check("going back makes a revision", (await this.revision()) === before + 1);
    this.check("with the old text", (await texts()) === wanted);
    const { why } = await this.signs();
    this.check("the domain is served no longer", why !== undefined, why);
    this.check("the other one still is", (await this.signs(told.domain)).ok === true);
    const { statuses } = await world("authorize", { user: `${this.user}2`, times: 6 });
    this.check("and the old number of authorizations holds", JSON.stringify(statuses) === "[200,200,200,200,200,200]", statuses);
  }

  async signOut() {
    const { page, words } = this;
    const cookies = (await this.context.cookies()).filter(({ name }) => name.startsWith("__Host-"));
    this.check("the session is one strict cookie", cookies.length === 1 && cookies[0].httpOnly && cookies[0].secure && cookies[0].sameSite === "Strict", JSON.stringify(cookies.map(({ value, ...rest }) => rest)));
    await page.locator("summary", { hasText: NAME }).click();
    await page.getByRole("button", { name: words.signOut, exact: true }).click();
    await page.waitForURL("**/sign-in*");
    this.check("signing out ends at the sign-in", (await page.textContent("h1")).trim() === words.signIn.title);
    await this.context.addCookies(cookies);
    const dead = await this.context.request.get(`${told.open}/api/v1/session`);
    this.check("the cookie is dead, whoever has kept it", dead.status() === 401, dead.status());
    await page.goto(`${told.open}/configuration/history`);
    this.check("on the pages, too", new URL(page.url()).pathname === "/sign-in", page.url());
    this.check("no page had anything to complain of", this.complaints.filter((text) => !/status of 4(01|22)/.test(text)).length === 0, this.complaints.join(" | "));
    await this.context.close();
  }
}

/** The whole of it. */
export async function walk(wish, listed) {
  const walk = new Walk(wish);
  await walk.begin();
  const first = await walk.revision();
  await walk.addDomain();
  await walk.setAdvanced();
  await walk.discover();
  await walk.refresh({ listed });
  await walk.maintain();
  await walk.rollBack(first);
  await walk.signOut();
}
