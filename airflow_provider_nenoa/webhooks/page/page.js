"use strict";
// Whatever comes from the server goes into the page as text, never as HTML.

const REFRESH = 30000; // milliseconds

const byId = (id) => document.getElementById(id);
const shown = { connection: null, before: null, waitingAfter: null };

// --- Airflow's theme: it is a class of the document around this one; without one, the system's.

function followTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  let outer = null;
  try {
    outer = parent !== window ? parent.document.documentElement : null;
  } catch {
    // framed by another origin, which our headers forbid anyway
  }
  const apply = () => {
    const names = outer === null ? "" : `${outer.className} ${outer.dataset.theme ?? ""}`;
    const dark = /\bdark\b/.test(names) || (!/\blight\b/.test(names) && system.matches);
    document.documentElement.classList.toggle("dark", dark);
  };
  apply();
  system.addEventListener("change", apply);
  if (outer !== null) {
    new MutationObserver(apply).observe(outer, { attributes: true, attributeFilter: ["class", "data-theme"] });
  }
}

// --- Making elements

function make(name, text, className) {
  const element = document.createElement(name);
  if (text !== undefined && text !== null) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function rows(body, items, columns, nothing) {
  body.replaceChildren(
    ...items.map((item) => {
      const row = make("tr");
      row.append(...columns.map((column) => column(item)));
      return row;
    }),
  );
  if (items.length === 0) {
    const cell = make("td", nothing, "none");
    cell.colSpan = columns.length;
    const row = make("tr");
    row.append(cell);
    body.append(row);
  }
}

const cell = (text, className) => make("td", text === null || text === "" ? "–" : text, className);

function link(text, url) {
  const anchor = make("a", text);
  // Only these can have been meant, whatever the server says.
  if (!/^(https:\/\/|http:\/\/|\/)/.test(url)) return make("span", text);
  anchor.href = url;
  anchor.target = "_blank";
  anchor.rel = "noopener noreferrer";
  anchor.addEventListener("click", (event) => {
    if (parent === window) return;
    // Airflow's frame lets no new page be opened from inside: open it from the document around it.
    event.preventDefault();
    const outer = parent.document.createElement("a");
    Object.assign(outer, { href: anchor.href, target: "_blank", rel: "noopener noreferrer" });
    parent.document.body.append(outer);
    outer.click();
    outer.remove();
  });
  return anchor;
}

function time(seconds) {
  if (seconds === null) return make("span", "never", "none");
  const when = new Date(seconds * 1000);
  const element = make("time", `${duration(Math.max(0, Date.now() / 1000 - seconds))} ago`);
  element.dateTime = when.toISOString();
  element.title = when.toLocaleString();
  return element;
}

function duration(seconds) {
  if (seconds < 60) return `${Number(seconds.toFixed(seconds < 10 ? 1 : 0))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Number((seconds / 3600).toFixed(1))} h`;
  return `${Math.round(seconds / 86400)} days`;
}

function inCell(element, name = "td", className) {
  const around = make(name, null, className);
  around.append(element);
  return around;
}

// --- Asking the server

async function ask(path, options = {}) {
  const headers = { "X-Nenoa-Page": "1", ...options.headers };
  // Airflow 3.0 keeps the session here; later versions keep it in a cookie.
  const token = localStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  let response = await fetch(`api/${path}`, { credentials: "same-origin", ...options, headers });
  if (response.status === 401 && token) {
    delete headers.Authorization;
    response = await fetch(`api/${path}`, { credentials: "same-origin", ...options, headers });
  }
  if (response.ok) return response.json();
  if (response.status === 401) throw new Error("You are not logged in. Log in to Airflow, then load this page again.");
  let detail = "";
  try {
    detail = (await response.json()).detail;
  } catch {
    // not ours
  }
  throw new Error(typeof detail === "string" && detail ? detail : `Airflow answered ${response.status}.`);
}

async function guarded(action) {
  try {
    await action();
    byId("error").hidden = true;
  } catch (error) {
    byId("error").textContent = error.message;
    byId("error").hidden = false;
    byId("state").textContent = "";
  }
}

const pathOf = (connId) => `connections/${encodeURIComponent(connId)}`;

// --- The list of connections

async function loadConnections() {
  const answer = await ask("connections");
  const connections = answer.connections;
  rows(
    byId("connections"),
    connections,
    [
      (each) => {
        const button = make("button", each.conn_id, "link");
        button.type = "button";
        button.addEventListener("click", () => guarded(() => choose(each.conn_id, true)));
        const head = inCell(button, "th");
        head.scope = "row";
        return head;
      },
      (each) => cell(each.vendor),
      (each) => inCell(time(each.last_at)),
      (each) => cell(each.waiting, "number"),
      (each) => cell(each.accepted, "number"),
      (each) => cell(each.repeated, "number"),
      (each) => cell(each.refused, "number"),
    ],
    "There is no NenAI or OpenAnalyst connection that you may see.",
  );
  markChosen();
  byId("attention").replaceChildren(...answer.attention.map((text) => make("li", text)));
  if (answer.attention.length === 0) byId("attention").append(make("li", "Nothing.", "fine"));
  byId("state").textContent = `As of ${new Date(answer.now * 1000).toLocaleTimeString()}`;
  if (shown.connection === null && connections.length > 0) {
    const wanted = decodeURIComponent(location.hash.slice(1));
    await choose((connections.find((each) => each.conn_id === wanted) ?? connections[0]).conn_id, false);
  }
}

function markChosen() {
  for (const button of byId("connections").querySelectorAll("button")) {
    const chosen = button.textContent === shown.connection;
    button.setAttribute("aria-current", String(chosen));
    button.closest("tr").classList.toggle("chosen", chosen);
  }
}

// --- One connection

async function choose(connId, byHand) {
  shown.connection = connId;
  shown.before = null;
  shown.waitingAfter = null;
  history.replaceState(null, "", `#${encodeURIComponent(connId)}`);
  byId("verdict").replaceChildren();
  byId("copied").textContent = "";
  markChosen();
  await Promise.all([loadConnection(), loadWaiting(), loadEvents()]);
  if (byHand) byId("detail-title").focus();
}

async function loadConnection() {
  const connId = shown.connection;
  const answer = await ask(pathOf(connId));
  if (connId !== shown.connection) return;
  byId("detail").hidden = false;
  byId("detail-title").textContent = `${answer.conn_id} (${answer.vendor})`;
  byId("url").value = answer.webhook_url ?? "";
  byId("copy").disabled = answer.webhook_url === null;
  byId("url-problem").textContent = answer.webhook_url_problem ?? "";
  byId("url-problem").hidden = answer.webhook_url_problem === null;
  draw(byId("hour"), answer.chart.hour, "minute");
  draw(byId("day"), answer.chart.day, "hour");
  byId("durations").textContent =
    answer.durations
      .map((each) => {
        const times = `half within ${duration(each.median)}, 95 % within ${duration(each.p95)}`;
        return `${each.kind || "Runs"}: ${times} (${each.number} ${each.number === 1 ? "run" : "runs"})`;
      })
      .join("; ") || "No run was followed from its start to its end yet.";
  byId("plan").textContent =
    answer.plan
      .map((each) => {
        const left = Math.max(0, each.limit - each.spent);
        const count = `${each.spent.toLocaleString()} of ${each.limit.toLocaleString()} sent, ${left.toLocaleString()} left`;
        return `Last ${each.period}: ${count} (told ${duration(Math.max(0, Date.now() / 1000 - each.at))} ago)`;
      })
      .join("; ") || "Nobody has told lately: triggers that poll runs of this connection do.";
  rows(
    byId("refusals"),
    answer.refusals,
    [(each) => inCell(time(each.last_at)), (each) => cell(each.number, "number"), (each) => cell(`Refused: ${each.means}.`)],
    "Nothing was refused.",
  );
}

function draw(place, bars, unit) {
  const SVG = "http://www.w3.org/2000/svg";
  const kinds = ["accepted", "repeated", "refused"];
  const total = (bar) => kinds.reduce((sum, kind) => sum + bar[kind], 0);
  const highest = Math.max(0, ...bars.map(total));
  const svg = document.createElementNS(SVG, "svg");
  const add = (name, attributes) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    svg.append(element);
  };
  svg.setAttribute("viewBox", "0 0 300 80");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const sums = kinds.map((kind) => bars.reduce((sum, bar) => sum + bar[kind], 0));
  svg.setAttribute(
    "aria-label",
    `${sums[0]} webhooks stored, ${sums[1]} repeated, ${sums[2]} refused; ${highest} in one ${unit} at most`,
  );
  const width = 300 / bars.length;
  bars.forEach((bar, index) => {
    let y = 70;
    for (const kind of kinds) {
      const height = (bar[kind] / Math.max(1, highest)) * 64;
      y -= height;
      if (height > 0) add("rect", { class: kind, x: index * width + 0.5, y, width: Math.max(1, width - 1), height });
    }
  });
  add("line", { class: "axis", x1: 0, y1: 70.5, x2: 300, y2: 70.5 });
  place.replaceChildren(svg, make("p", `${highest} in one ${unit} at most`, "none"));
}

async function loadWaiting() {
  const connId = shown.connection;
  const query = shown.waitingAfter === null ? "" : `?after=${encodeURIComponent(shown.waitingAfter)}`;
  const answer = await ask(`${pathOf(connId)}/waiting${query}`);
  if (connId !== shown.connection) return;
  rows(
    byId("waiting"),
    answer.waiting,
    [
      (each) => inCell(time(each.started_at)),
      (each) => cell(each.kind),
      (each) => (each.task ? inCell(link(each.task, each.task_url)) : cell(null)),
      (each) => runCell(each),
      (each) => cell(each.note),
    ],
    "Nobody waits.",
  );
  byId("waiting-first").disabled = shown.waitingAfter === null;
  byId("waiting-next").disabled = answer.next === null;
  byId("waiting-next").onclick = () => {
    shown.waitingAfter = answer.next;
    guarded(loadWaiting);
  };
}

function runCell(each) {
  if (!each.run_id) return cell(each.is_run === false ? "about no run" : "id not told yet", "none");
  return each.run_url ? inCell(link(each.run_id, each.run_url)) : cell(each.run_id);
}

async function loadEvents() {
  const connId = shown.connection;
  const query = new URLSearchParams();
  for (const name of ["run", "status", "event"]) {
    const value = byId(name).value.trim();
    if (value) query.set(name, value);
  }
  if (shown.before !== null) query.set("before", shown.before);
  const answer = await ask(`${pathOf(connId)}/events?${query}`);
  if (connId !== shown.connection) return;
  rows(
    byId("events"),
    answer.events,
    [
      (each) => inCell(time(each.received_at)),
      (each) => runCell(each),
      (each) => cell(each.kind),
      (each) => cell(each.event),
      (each) => cell(each.word && each.word !== each.status ? `${each.status} (${each.word})` : each.status),
      (each) => cell(each.delay === null ? null : duration(each.delay), "number"),
      (each) => cell(each.webhooks, "number"),
    ],
    answer.next === null ? "Nothing." : "Nothing in this part; look at older ones.",
  );
  byId("newest").disabled = shown.before === null;
  byId("older").disabled = answer.next === null;
  byId("older").onclick = () => {
    shown.before = answer.next;
    guarded(loadEvents);
  };
  byId("page-state").textContent = `${answer.events.length} events${shown.before === null ? "" : ", older ones"}`;
}

async function copy() {
  const url = byId("url");
  try {
    await navigator.clipboard.writeText(url.value);
  } catch {
    url.select(); // without https, a browser has no other way
    document.execCommand("copy");
  }
  byId("copied").textContent = "Copied.";
}

async function test() {
  const connId = shown.connection;
  const button = byId("test");
  button.disabled = true;
  byId("verdict").replaceChildren(make("p", "Testing …"));
  try {
    const answer = await ask(`${pathOf(connId)}/self-test`, { method: "POST" });
    if (connId !== shown.connection) return;
    const steps = make("ol");
    steps.append(...answer.steps.map((step) => make("li", step)));
    const verdict = answer.passed
      ? make("p", "Passed: webhooks for this connection arrive.", "passed")
      : make("p", `Failed: ${answer.error}`, "failed");
    byId("verdict").replaceChildren(verdict, steps);
    await refresh();
  } catch (error) {
    byId("verdict").replaceChildren(make("p", error.message, "failed"));
  } finally {
    button.disabled = false;
  }
}

async function refresh() {
  await loadConnections();
  if (shown.connection !== null) await Promise.all([loadConnection(), loadWaiting(), loadEvents()]);
}

followTheme();
byId("refresh").addEventListener("click", () => guarded(refresh));
byId("copy").addEventListener("click", copy);
byId("test").addEventListener("click", test);
byId("newest").addEventListener("click", () => {
  shown.before = null;
  guarded(loadEvents);
});
byId("waiting-first").addEventListener("click", () => {
  shown.waitingAfter = null;
  guarded(loadWaiting);
});
byId("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  shown.before = null;
  guarded(loadEvents);
});
// Not while somebody reads an older page, goes through a table with the keyboard, or has turned to another tab.
setInterval(() => {
  const reading = document.hidden || document.activeElement?.closest("tbody");
  if (!reading && shown.before === null && shown.waitingAfter === null) guarded(refresh);
}, REFRESH);
guarded(loadConnections);
