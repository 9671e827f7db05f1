// Looks at the pages of a whole system with a real browser, and clicks through them. Screenshots go to target/screenshots.
import { figure } from "./maintenance.mjs";
import * as pages from "./pages.mjs";
import { firstSignIn } from "./sign_in.mjs";
import { strangers } from "./strangers.mjs";
import { end, part, told, world } from "./visitor.mjs";
import { walk } from "./walk.mjs";

// One part alone, while it is worked on: EDGEWAY_PARTS=walk.
const wanted = process.env.EDGEWAY_PARTS?.split(",");
const run = (name, of) => (wanted === undefined || wanted.some((one) => name.startsWith(one)) ? part(name, of) : undefined);

await part("the first sign-in", firstSignIn);
// All of it goes by way of the core whose pages these are: each core has its own configuration.
await world("maintain", { node: "core2", on: true });
const [green, blue, grey] = told.walks;
await run("walk in English", () => walk({ language: "en", script: true, ...green }, true));
await run("walk in Japanese", () => walk({ language: "ja", script: true, ...blue }, false));
await run("walk without scripts", () => walk({ language: "en", script: false, ...grey }, true));

await run("gathering", () => world("gather", { chatters: [{ user: "carol" }, { user: "dave" }] }));
await world("maintain", { node: "core2", on: false });
const menu = await pages.menuPages();
await run("strangers", () => strangers(menu));
await run("every page", () => pages.everyPage(menu));
await run("links", () => pages.links(menu));
await run("rows of the services", () => pages.serviceRows());
await run("it lives", () => pages.lives());
await run("without scripts", () => pages.withoutScripts(menu));
await run("by keyboard", () => pages.byKeyboard());
await run("small screens", () => pages.smallScreens(menu));
await run("nobody", () => pages.strangersSeeNothing());
await run("disconnecting", () => pages.disconnects());
await run("figure", figure);
await end();
