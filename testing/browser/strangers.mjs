// What strangers write, shown on every page: as it is, and without doing anything. Whether anything was done is watched on all
// pages of all visitors (visitor.mjs): a script that ran, a rule of the pages' policy that was broken, a host that was asked.
import https from "node:https";
import tls from "node:tls";
import { check, told, visitor, world } from "./visitor.mjs";

/** Markup in all the ways it begins, and characters that turn the direction of writing. Each place has its number. */
const markup = (n) => `"'><img src=x onerror=window.hurt=${n}></textarea></title><script>window.hurt=${n}</script>`;
// What has only the characters of a SIP word (RFC 3261 section 25.1), for a Call-ID.
const CALL_ID = `<script>window.harmed(4)</script>`;

const place = (address) => {
  const at = address.lastIndexOf(":");
  return { host: address.slice(0, at), port: Number(address.slice(at + 1)), servername: "edge.lab.example", rejectUnauthorized: false };
};

/** One request to the edge, as a client would make it: the status. */
function ask(path, user, headers = {}) {
  return new Promise((resolve, reject) => {
    const authorization = `Basic ${Buffer.from(`${user}:${user}`).toString("base64")}`;
    const request = https.request({ ...place(told.https), path, headers: { host: "edge.lab.example:8443", authorization, ...headers } }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(answer.statusCode));
    });
    request.on("error", reject);
    request.end();
  });
}

/** SIP requests over one connection, without an answer being waited for longer than a moment: what came. */
function send(requests) {
  return new Promise((resolve) => {
    let heard = "";
    const socket = tls.connect(place(told.sip), () => requests.forEach((lines) => socket.write(`${lines.join("\r\n")}\r\n\r\n`)));
    socket.on("data", (bytes) => { heard += bytes; });
    socket.on("error", () => {});
    setTimeout(() => { socket.destroy(); resolve(heard); }, 1500);
  });
}

function sip(method, uri, { callId, from, agent, contact, n }) {
  return [
    `${method} ${uri} SIP/2.0`, `Via: SIP/2.0/TLS 127.0.0.1:5099;branch=z9hG4bK${n}${method};rport`, "Max-Forwards: 70",
    `From: ${from};tag=${n}`, `To: ${from}`, `Call-ID: ${callId}`, `CSeq: ${n} ${method}`, `Contact: ${contact}`, `User-Agent: ${agent}`,
    `Subject: ${markup(9)}`, "Expires: 60", "Content-Length: 0",
  ];
}

/** Fills in a form by its labels, and sends it. */
async function fill(page, at, fields, button) {
  await page.goto(told.open + at);
  for (const [label, value] of Object.entries(fields)) await page.getByLabel(label, { exact: true }).fill(value);
  await page.getByRole("button", { name: button, exact: true }).last().click();
  await page.waitForLoadState();
}

export async function strangers(menu) {
  const { context, page, complaints } = await visitor();
  const shown = async (at, what, text) => {
    if (at) await page.goto(told.open + at, { waitUntil: "load" });
    const look = async () => {
      const values = await page.$$eval("main input, main textarea", (all) => all.map((one) => one.value).join("\n"));
      return `${await page.textContent("main")}\n${values}`;
    };
    // What happens inside is not there the moment it is caused.
    const end = Date.now() + 15000;
    let seen = await look();
    while (at && !seen.includes(text) && Date.now() < end) {
      await page.waitForTimeout(250);
      await page.goto(told.open + at, { waitUntil: "load" });
      seen = await look();
    }
    check(`${what} is shown as it is`, seen.includes(text), `${page.url()}: ${seen.replace(/\s+/g, " ").slice(0, 400)}`);
  };

  // From outside: names at sign-in, domains, SIP.
  await world("trace");
  const b64 = (text) => Buffer.from(text).toString("base64").replace(/=+$/, "");
  const name = markup(3).slice(0, 60);
  check("a hostile name signs nobody in", [400, 401, 403].includes(await ask(`/${b64(told.domain)}/get_edge_config`, name, { "user-agent": markup(1) })));
  check("a hostile domain is none of ours", [400, 403, 404].includes(await ask(`/${b64(markup(6))}/get_edge_config`, "alice")));
  const from = `"<img src=x onerror=window.hurt=5>" <sip:alice@${told.domain}>`;
  const party = { callId: CALL_ID, from, agent: markup(1), contact: `<sip:alice@127.0.0.1:5099;transport=tls>;+u.sip!devicename.ccm.cisco.com="<img/onerror=window.hurt=2>"` };
  const heard = await send([
    sip("REGISTER", `sip:${told.domain}`, { ...party, n: 1 }),
    sip("REGISTER", "sip:nowhere.example", { ...party, n: 2 }),
    sip("INVITE", `sip:bob@${told.domain}`, { ...party, n: 3 }),
  ]);
  check("the edge answers a stranger", heard.startsWith("SIP/2.0 "), heard.slice(0, 200));

  // From inside: an administrator who means no good, and a server that lies.
  await page.goto(`${told.open}/configuration/unified-communications`);
  await page.getByLabel("New domain", { exact: true }).fill("red.example");
  await page.locator("form", { has: page.getByLabel("New domain", { exact: true }) }).getByRole("button", { name: "Add", exact: true }).click();
  await page.getByLabel("Comment", { exact: true }).fill(markup(7));
  await page.getByRole("button", { name: "Apply", exact: true }).click();
  await page.waitForURL("**/configuration/history?done=*");
  await shown("", "the comment of a revision", markup(7));
  await fill(page, "/users/administrators", { Name: markup(8).slice(0, 60), Password: "correct horse battery" }, "Add account");
  await fill(page, "/users/tokens", { Name: markup(8).slice(0, 60) }, "Make token");
  await fill(page, "/configuration/servers", { "Address (host, or host:port)": markup(10), "Application user": markup(11), Password: "x" }, "Add server");
  await shown("", "the address of a server", markup(10));
  await shown("", "the user of a server", markup(11));
  await fill(page, "/configuration/servers", { "Address (host, or host:port)": "nobody.lab.example", "Application user": markup(11).replaceAll(":", ""), Password: "x" }, "Add server");
  await page.waitForURL("**/configuration/history?done=*");
  await world("lie", { node: markup(13) });
  await page.goto(`${told.open}/configuration/servers`);
  await page.getByRole("button", { name: "Refresh servers", exact: true }).click();
  await page.getByText("What was read", { exact: true }).first().waitFor();
  await shown("", "what a server says", "window.hurt=13");
  await page.request.post(`${told.open}/api/v1/session`, { data: { name: markup(14), password: "wrong wrong wrong" } });
  await page.request.get(`${told.open}/api/v1/nodes/${encodeURIComponent(markup(15))}`);

  await shown("/status/registrations", "a hostile User-Agent", "<img src=x onerror=window.hurt=1>");
  await shown(`/status/ladder?call_id=${encodeURIComponent(CALL_ID)}`, "a hostile Call-ID", CALL_ID);
  await shown("", "a hostile From", "window.hurt=5");
  await shown("/status/alarms", "a server that lies", "window.hurt=13");
  await shown("/configuration/document", "the user of a server", "window.hurt=11");
  await shown("/users/audit", "the name of an account that was refused", "window.hurt=8");

  const hostile = encodeURIComponent(markup(16));
  const more = [
    `/status/registrations?user=${hostile}`, `/status/calls?user=${hostile}`, `/status/chats?user=${hostile}`, `/status/events?id=${hostile}`,
    `/status/refused?user=${hostile}&code=${hostile}&client=${hostile}`, `/status/ladder?call_id=${hostile}&user=${hostile}`,
    `/status/overview?node=${hostile}`, `/configuration/history?done=${hostile}&revision=${hostile}`, `/configuration/history?revision=2`,
    `/sign-in?next=${hostile}`, `/preferences?language=${hostile}&back=${hostile}`, `/status/registrations?user=${encodeURIComponent(told.hostile)}`,
  ];
  for (const at of [...menu, ...more]) {
    await page.goto(told.open + at, { waitUntil: "load" });
    // Twice as long as pages wait before they look again: what comes by script is put in its place in another way.
    if (await page.$("#live")) await page.waitForTimeout(1200);
    const ran = await page.evaluate(() => [window.hurt, document.querySelectorAll("main script, main img, main [onload], main [onerror]").length]);
    check(`nothing of a stranger came to life on ${at}`, ran[0] === undefined && ran[1] === 0, String(ran));
  }
  await page.goto(`${told.open}/status/registrations?user=${encodeURIComponent(told.hostile)}`);
  check("what was searched for stays in its field", (await page.inputValue("#user")).includes("<script>"));
  const real = complaints.filter((text) => !/the server responded with a status of (400|404|422)/.test(text));
  check("hostile names are no complaint", real.length === 0, real.join(" | "));
  await world("lie", {});
  await context.close();
}
