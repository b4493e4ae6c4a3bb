"use strict";
// Draws the reference from /v1/openapi.json. All text goes in as text nodes, never as HTML.

const METHODS = ["get", "post", "patch", "delete"];
const GROUPS = ["Session", "Account", "Mailboxes", "Messages", "Threads", "Discussions", "Search", "Changes"];

/** An element with attributes and children; strings become text. */
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Text in which `quoted` pieces become code. */
function prose(text) {
  return (text || "").split("`").map((piece, index) => (index % 2 ? make("code", null, piece) : piece));
}

function paragraphs(text) {
  return (text || "").split(/\n\s*\n/).filter(Boolean).map((each) => make("p", null, ...prose(each.replace(/\s+/g, " "))));
}

const typeId = (name) => `type-${name}`;
const nameOf = (reference) => reference.split("/").pop();

/** A schema in one line: a link to a named type, or its shape. */
function shape(schema) {
  if (!schema) return ["anything"];
  if (schema.$ref) return [make("a", { href: `#${typeId(nameOf(schema.$ref))}` }, nameOf(schema.$ref))];
  const either = schema.oneOf || schema.anyOf;
  if (either) return either.flatMap((each, index) => (index ? [" or ", ...shape(each)] : shape(each)));
  if (schema.allOf) return schema.allOf.flatMap((each, index) => (index ? [" with ", ...shape(each)] : shape(each)));
  if (schema.enum) return [schema.enum.map((each) => JSON.stringify(each)).join(" or ")];
  const kinds = [].concat(schema.type || "anything");
  const named = kinds.filter((kind) => kind !== "null").map((kind) => {
    if (kind === "array") return ["list of ", ...shape(schema.items)];
    if (kind === "object" && schema.additionalProperties) return ["object of ", ...shape(schema.additionalProperties)];
    if (kind === "string" && schema.format) return [`string (${schema.format})`];
    return [kind];
  });
  const line = named.flatMap((each, index) => (index ? [" or ", ...each] : each));
  if (kinds.includes("null")) line.push(" or null");
  return line;
}

function limits(schema) {
  const said = [];
  if (!schema) return "";
  if (schema.minimum !== undefined && schema.maximum !== undefined) said.push(`${schema.minimum} to ${schema.maximum}`);
  return said.length ? ` ${said.join(", ")}.` : "";
}

function table(heads, rows) {
  const head = make("tr", null, ...heads.map((each) => make("th", { scope: "col" }, each)));
  const body = rows.map((cells) => make("tr", null, ...cells.map((cell) => make("td", null, ...[].concat(cell)))));
  return make("div", { class: "scroll" }, make("table", null, make("thead", null, head), make("tbody", null, ...body)));
}

/** All members of a schema, those of its parts included. */
function members(schema, types) {
  if (!schema) return [];
  if (schema.$ref) return members(types[nameOf(schema.$ref)], types);
  if (schema.allOf) return schema.allOf.flatMap((each) => members(each, types));
  const required = new Set(schema.required || []);
  return Object.entries(schema.properties || {}).map(([name, value]) => ({ name, value, required: required.has(name) }));
}

function memberTable(schema, types, tellsRequired) {
  const rows = members(schema, types).map(({ name, value, required }) => [
    make("code", null, name),
    shape(value),
    [...prose((value.description || "").replace(/\s+/g, " ")), tellsRequired && required ? " Required." : "", limits(value)],
  ]);
  return rows.length ? table(["member", "type", "meaning"], rows) : null;
}

function drawCall(path, method, call, types) {
  const article = make("article", { id: call.operationId, "data-find": `${method} ${path} ${call.summary} ${call.description || ""}`.toLowerCase() });
  article.append(make("h3", null, make("a", { href: `#${call.operationId}` }, call.summary || call.operationId)));
  const verb = method.toUpperCase();
  article.append(make("div", { class: "path" }, make("span", { class: `method ${verb}` }, verb), make("code", null, path)));
  article.append(...paragraphs(call.description));
  if (call.parameters && call.parameters.length) {
    article.append(make("h4", null, "Parameters"));
    article.append(table(["name", "in", "type", "meaning"], call.parameters.map((each) => [
      make("code", null, each.name), each.in, shape(each.schema),
      [...prose((each.description || "").replace(/\s+/g, " ")), limits(each.schema), each.required && each.in !== "path" ? " Required." : ""],
    ])));
  }
  if (call.requestBody) {
    const content = Object.entries(call.requestBody.content);
    article.append(make("h4", null, "Body"));
    article.append(make("p", { class: "faint" }, content.map(([kind]) => kind).join(" or ")));
    const drawn = memberTable(content[0][1].schema, types, true);
    if (drawn) article.append(drawn);
  }
  article.append(make("h4", null, "Answers"));
  const answers = Object.entries(call.responses || {}).sort(([a], [b]) => a.localeCompare(b));
  const row = ([status, response]) => {
    const content = Object.values(response.content || {})[0];
    return [make("code", null, status), [...prose(response.description)], content && content.schema ? shape(content.schema) : ""];
  };
  const good = answers.filter(([status]) => status < "400");
  const bad = answers.filter(([status]) => status >= "400");
  article.append(table(["status", "meaning", "content"], good.map(row)));
  if (bad.length) {
    article.append(make("details", null, make("summary", null, `${bad.length} problems`), table(["status", "meaning", "content"], bad.map(row))));
  }
  const token = (call.security || []).some((each) => !Object.keys(each).length) ? "" : ' \\\n  -H "Authorization: Bearer $TOKEN"';
  const body = call.requestBody ? ` \\\n  -H 'Content-Type: ${Object.keys(call.requestBody.content)[0]}' -d '{…}'` : "";
  const verbFlag = method === "get" ? "" : ` -X ${verb}`;
  article.append(make("pre", null, make("code", null, `curl${verbFlag} ${location.origin}${path}${token}${body}`)));
  return article;
}

function draw(description) {
  const types = (description.components && description.components.schemas) || {};
  document.getElementById("introduction").append(
    make("p", { class: "faint" }, `${description.info.title} ${description.info.version}, OpenAPI ${description.openapi}`),
    ...paragraphs(description.info.description));
  const groups = new Map();
  for (const [path, item] of Object.entries(description.paths)) {
    for (const method of METHODS.filter((each) => item[each])) {
      const group = (item[method].tags || ["Other"])[0];
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push([path, method, item[method]]);
    }
  }
  const calls = document.getElementById("calls");
  const index = document.getElementById("index");
  const rank = ([group]) => (GROUPS.includes(group) ? GROUPS.indexOf(group) : GROUPS.length);
  for (const [group, list] of [...groups].sort((a, b) => rank(a) - rank(b))) {
    const section = make("section", null, make("h2", null, group));
    const links = make("ul");
    for (const [path, method, call] of list) {
      section.append(drawCall(path, method, call, types));
      links.append(make("li", { "data-for": call.operationId }, make("a", { href: `#${call.operationId}` }, call.summary || call.operationId)));
    }
    calls.append(section);
    index.append(make("div", null, make("h2", null, group), links));
  }
  const section = document.getElementById("types");
  for (const [name, schema] of Object.entries(types).sort(([a], [b]) => a.localeCompare(b))) {
    const drawn = memberTable(schema, types, false) || make("p", null, ...shape(schema));
    section.append(make("article", { id: typeId(name) }, make("h3", null, name), ...paragraphs(schema.description), drawn));
  }
  section.hidden = false;
  index.append(make("div", null, make("h2", null, make("a", { href: "#types" }, "Types")), make("h2", null, make("a", { href: "#problems" }, "Problems"))));
}

/** Hides the calls that do not hold what is typed. */
function find(text) {
  const wanted = text.trim().toLowerCase();
  for (const article of document.querySelectorAll("#calls article")) {
    const hidden = !article.dataset.find.includes(wanted);
    article.hidden = hidden;
    const link = document.querySelector(`[data-for="${CSS.escape(article.id)}"]`);
    if (link) link.hidden = hidden;
  }
  for (const each of document.querySelectorAll("#calls > section, #index > div")) {
    const listed = [...each.querySelectorAll("article, li")];
    each.hidden = listed.length > 0 && listed.every((one) => one.hidden);
  }
}

async function start() {
  const state = document.getElementById("state");
  try {
    const answer = await fetch("/v1/openapi.json");
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    draw(await answer.json());
    state.remove();
  } catch (error) {
    state.textContent = `The description cannot be read: ${error.message}. Reload the page to try again.`;
    state.className = "notice";
    return;
  }
  const filter = document.getElementById("filter");
  filter.addEventListener("input", () => find(filter.value));
  // What was asked for in the address is there only now.
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

start();
