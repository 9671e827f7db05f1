// Signing in for the first time, and again.
import { check, keepSession, NAME, PASSWORD, told, visitor } from "./visitor.mjs";

/** Types into what has the focus, goes on by Tab, and sends by Enter: no mouse. */
async function type(page, texts) {
  for (const [at, text] of texts.entries()) {
    if (at > 0) await page.keyboard.press("Tab");
    await page.keyboard.type(text);
  }
  await page.keyboard.press("Enter");
}

/** Signs in, by keyboard: at first with the code, then by name and password. */
export async function firstSignIn() {
  const { context, page } = await visitor({ stranger: true });
  await page.goto(`${told.open}/first-sign-in`);
  await type(page, ["AAAAA-BBBBB", NAME, PASSWORD]);
  await page.waitForSelector("[role=alert]");
  check("a wrong code makes nobody", (await page.textContent("[role=alert]")).includes("code is wrong"));
  check("what was typed stays, but for secrets", (await page.inputValue("#name")) === NAME && (await page.inputValue("#password")) === "");
  await type(page, [told.code]);
  await page.fill("#password", PASSWORD);
  await page.keyboard.press("Enter");
  await page.waitForURL("**/status/overview");
  check("the first administrator is in", (await page.textContent(".tools")).includes(NAME));
  await page.click(".tools details:last-child summary");
  await page.click(".tools details:last-child button");
  await page.waitForURL("**/sign-in");
  await page.goto(`${told.open}/status/alarms`);
  check("whoever has signed out is out", new URL(page.url()).pathname === "/sign-in", page.url());
  await page.goto(`${told.open}/sign-in`);
  await type(page, [NAME, "wrong wrong wrong"]);
  await page.waitForSelector("[role=alert]");
  check("a wrong password lets nobody in", (await page.textContent("[role=alert]")).includes("wrong"));
  await page.waitForTimeout(2500);
  await page.goto(`${told.open}/sign-in?next=${encodeURIComponent("//evil.example/")}`);
  await type(page, [NAME, PASSWORD]);
  await page.waitForURL("**/status/overview");
  check("sign-in leads to our pages only", page.url().startsWith(told.open), page.url());
  const form = await context.request.post(`${told.open}/status/chats/disconnect`, { form: { node: "core1", id: "1" } });
  check("a form without its token does nothing", form.status() === 403, String(form.status()));
  keepSession(await context.storageState());
  await context.close();
}
