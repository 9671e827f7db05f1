// Nodes in maintenance mode, when nobody is served there any more: the figure of these systems, row by row.
import { check, picture, told, violations, visitor, world } from "./visitor.mjs";
import { FIGURE } from "./words.mjs";

/** The rows of one node's services: each with its state, and below it its parts and sentences. */
const rowsOf = (page) => page.$$eval(".node table.services:not(.beside) tr", (rows) => rows.flatMap((row) => {
  const text = (one) => one.textContent.replace(/\s+/g, " ").trim();
  const own = row.querySelector(":scope > td").cloneNode(true);
  own.querySelectorAll("ul, .bracket, a").forEach((one) => one.remove());
  const items = [...row.querySelectorAll("li")].map((item) => {
    const plain = item.cloneNode(true);
    plain.querySelectorAll("a").forEach((one) => one.remove());
    return `  ${text(plain)}`;
  });
  return [`${text(row.querySelector("th"))}: ${text(own)}`, ...items];
}));

export async function figure() {
  await world("leave");
  for (const node of ["core1", "edge1"]) {
    await world("maintain", { node, on: true });
    await world("drained", { node });
  }
  for (const language of ["en", "ja"]) {
    const { context, page } = await visitor({ language });
    for (const [node, role] of [["core1", "core"], ["edge1", "edge"]]) {
      await page.goto(`${told.open}/status/unified-communications?node=${node}`);
      const found = await rowsOf(page);
      check(`the rows of ${node} are those of the figure in ${language}`, JSON.stringify(found) === JSON.stringify(FIGURE[language][role]), found.join(" | "));
      const linked = await page.$$eval(".services li", (items) => items.every((item) => item.querySelector("a")));
      check(`every trouble of ${node} has a link`, linked);
      await picture(page, `figure.${node}.${language}`);
    }
    for (const at of ["status/unified-communications", "status/overview", "status/alarms", "maintenance/maintenance-mode"]) {
      await page.goto(`${told.open}/${at}`);
      await picture(page, `maintenance.${at.split("/")[1]}.${language}`);
      const wrong = await violations(page);
      check(`${at} in maintenance mode is accessible in ${language}`, wrong.length === 0, wrong.join(" | "));
    }
    await page.goto(`${told.open}/status/alarms`);
    const foreign = await page.$$eval("main [lang=en]", (all) => all.map((one) => one.textContent));
    check(`alarms speak the reader's language (${language})`, foreign.length === 0, foreign.join(" | "));
    await context.close();
  }
}
