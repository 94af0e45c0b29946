"use strict";
// Shows /openapi.json. Texts become nodes and never markup, so that nothing in the document can run.

let api;
let key = "";

const METHODS = ["get", "post", "patch", "put", "delete"];

/** An element: attributes, functions as listeners, and children as nodes or texts. */
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key, value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child != null && child !== "" && child !== false));
  return node;
}

/** `code`, **bold** and nothing else of Markdown, in a line. */
function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`") && part.endsWith("`") && part.length > 1) return el("code", {}, part.slice(1, -1));
    if (part.startsWith("**")) return el("strong", {}, part.slice(2, -2));
    return part;
  });
}

/** Paragraphs and lists of Markdown. */
function prose(text = "") {
  return text.split(/\n\n+/).filter(Boolean).map((block) =>
    block.startsWith("- ")
      ? el("ul", {}, block.split(/\n(?=- )/).map((line) => el("li", {}, inline(line.slice(2)))))
      : el("p", {}, inline(block)));
}

function resolved(schema) {
  if (!schema.$ref) return schema;
  const found = schema.$ref.slice(2).split("/").reduce((at, name) => at[name.replace(/~1/g, "/").replace(/~0/g, "~")], api);
  return { ...resolved(found), ...schema, $ref: undefined, name: schema.$ref.split("/").pop() };
}

const isNull = (schema) => schema.type === "null" || schema.const === null;
const alternatives = (schema) => schema.anyOf || schema.oneOf;

/** What a schema is, in a few words. */
function kind(given) {
  const schema = resolved(given);
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (alternatives(schema)) return [...new Set(alternatives(schema).map(kind))].join(" or ");
  const types = [schema.type ?? "any"].flat().map((type) =>
    type === "array" ? `list of ${kind(schema.items ?? {})}` : type === "object" && schema.name ? schema.name : type);
  const format = { "date-time": "time, RFC 3339", uuid: "UUID" }[schema.format];
  const range = "minimum" in schema && "maximum" in schema ? `, ${schema.minimum} to ${schema.maximum}` : "";
  return types.join(" or ").replace("string", format ?? "string") + range;
}

/** What there is inside of a schema: members, alternatives, items, constants with a meaning; null when nothing is. */
function inside(given, seen = []) {
  const schema = resolved(given);
  if (schema.name && seen.includes(schema.name)) return null;
  const path = schema.name ? [...seen, schema.name] : seen;
  if (schema.properties) return members(schema, path);
  if (schema.items) return inside(schema.items, path);
  if (schema.enum && given.$ref) return el("div", {}, prose(resolved({ $ref: given.$ref }).description));
  if (!alternatives(schema)) return null;
  const many = alternatives(schema).filter((one) => !isNull(one));
  const shown = many.map((one) => [one, inside(one, path)]).filter(([, node]) => node);
  if (many.length === 1) return shown[0]?.[1] ?? null;
  return shown.length ? el("div", {}, shown.map(([one, node]) => el("div", { class: "alternative" }, el("p", {}, el("code", {}, kind(one))), node))) : null;
}

function members(schema, path) {
  const required = schema.required ?? [];
  const names = Object.keys(schema.properties).sort((a, b) => required.includes(b) - required.includes(a));
  return el("dl", { class: "fields" }, names.map((name) => {
    const member = schema.properties[name];
    return field(name, member, { required: required.includes(name), about: member.description ?? resolved(member).description, path });
  }));
}

function field(name, schema, { required, about, place, path = [] }) {
  const more = inside(schema, path);
  const initial = resolved(schema).default;
  return el("div", {},
    el("dt", {}, el("code", {}, name), el("span", { class: "type" }, kind(schema)), place && el("span", { class: "place" }, place),
      required && el("span", { class: "required" }, "required"), initial !== undefined && initial !== false && el("span", { class: "type" }, `default ${JSON.stringify(initial)}`)),
    el("dd", {}, prose(about), more && el("details", {}, el("summary", {}, / \| /.test(kind(schema)) ? "what they mean" : "what is in it"), more)));
}

function shown(text, label) {
  const button = el("button", { type: "button", click: async () => {
    try { await navigator.clipboard.writeText(text); button.textContent = "copied"; } catch { getSelection().selectAllChildren(pre); }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  } }, "copy");
  const pre = el("pre", { tabindex: "0", "aria-label": label }, text);
  return el("div", { class: "shown" }, pre, button);
}

const pretty = (value) => JSON.stringify(value, null, 2);
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function need(operation) {
  const asked = (operation.security ?? []).find((one) => "apiKey" in one);
  if (!asked) return "no key";
  return asked.apiKey.length ? `key with the scope ${asked.apiKey.join(", ")}` : "any key";
}

/** The request that the inputs say. */
function request(method, path, inputs, body) {
  const query = new URLSearchParams();
  const headers = {};
  let target = path;
  for (const { parameter, input } of inputs) {
    if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (!input.value) continue;
    else if (parameter.in === "query") query.append(parameter.name, input.value);
    else headers[parameter.name] = input.value;
  }
  if (body) headers["Content-Type"] = "application/json";
  const text = query.toString();
  return { target: target + (text && `?${text}`), method: method.toUpperCase(), headers, body: body?.value };
}

/** The same as a command. The key stands for itself: it is not shown. */
function curl({ target, method, headers, body }) {
  const lines = [`curl -s${method === "GET" ? "" : ` -X ${method}`} ${quoted(location.origin + target)}`];
  if (key) lines.push(`-H "Authorization: Bearer $ORCHESTRA_API_KEY"`);
  for (const [name, value] of Object.entries(headers)) lines.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (body !== undefined) lines.push(`-d ${quoted(body)}`);
  return lines.join(" \\\n  ");
}

async function send(asked, place) {
  place.replaceChildren(el("p", { class: "faint" }, "Sent; waiting."));
  const headers = key ? { ...asked.headers, Authorization: `Bearer ${key}` } : asked.headers;
  const begun = performance.now();
  try {
    const { target, method, body } = asked;
    const response = await fetch(target, { method, headers, body, credentials: "omit", cache: "no-store" });
    let text = await response.text();
    if (/json/.test(response.headers.get("content-type") ?? "")) try { text = pretty(JSON.parse(text)); } catch { /* as it is */ }
    const told = ["etag", "location", "retry-after", "x-request-id"].filter((name) => response.headers.has(name));
    place.replaceChildren(
      el("p", {}, el("span", { class: "status" }, String(response.status)), ` ${response.statusText}, ${Math.round(performance.now() - begun)} ms`),
      told.length ? el("p", { class: "faint" }, told.map((name) => [el("code", {}, `${name}: ${response.headers.get(name)}`), " "])) : "",
      text ? shown(text, "Answer") : "");
  } catch (error) {
    place.replaceChildren(el("p", {}, `The server was not reached: ${error.message}`));
  }
}

/** Inputs for a request, its command, and a button that sends it. */
function trial(method, path, operation) {
  const inputs = (operation.parameters ?? []).map((parameter) => {
    const input = el("input", { "aria-label": parameter.name, autocomplete: "off", spellcheck: "false", value: parameter.in === "path" ? parameter.example : null, placeholder: parameter.example ?? "", input: () => show() });
    return { parameter, input };
  });
  const content = operation.requestBody?.content["application/json"];
  const examples = Object.values(content?.examples ?? {});
  const body = content && el("textarea", { spellcheck: "false", "aria-label": "Body", input: () => show() });
  const command = el("div");
  const answer = el("div", { "aria-live": "polite" });
  const show = () => command.replaceChildren(shown(curl(request(method, path, inputs, body)), "Command"));
  const choices = examples.map((example) => el("button", { type: "button", click: (event) => {
    body.value = pretty(example.value);
    for (const choice of choices) choice.setAttribute("aria-pressed", String(choice === event.currentTarget));
    show();
  } }, example.summary));
  if (choices.length) choices[0].click();
  show();
  const button = el("button", { class: "send", type: "button", click: () => send(request(method, path, inputs, body), answer) }, "Send");
  document.addEventListener("keychange", show);
  return el("div", {},
    el("h3", {}, "Try it"),
    inputs.length ? el("div", { class: "inputs" }, inputs.map(({ parameter, input }) => [el("label", {}, el("code", {}, parameter.name)), input])) : "",
    choices.length > 1 ? el("div", { class: "choices" }, choices) : "", body ?? "", command, button, answer);
}

function answers(operation) {
  return Object.entries(operation.responses).map(([status, response]) => {
    const refused = response["x-codes"];
    const content = Object.values(response.content ?? {})[0];
    const label = refused ? refused.map((code) => [el("code", {}, code), " "]) : response.description;
    const headers = Object.keys(response.headers ?? {});
    return el("details", { class: "answer" },
      el("summary", {}, el("span", { class: "status" }, status), " ", label),
      el("div", { class: "inside" },
        refused ? prose(response.description.split("\n\n").slice(1).join("\n\n")) : "",
        headers.length ? el("p", { class: "faint" }, "Headers: ", headers.map((name) => [el("code", {}, name), " "])) : "",
        refused ? "" : Object.values(content?.examples ?? {}).map((example) => [el("p", {}, example.summary), shown(pretty(example.value), example.summary)]),
        refused || !content ? "" : inside(content.schema) ?? el("p", { class: "faint" }, kind(content.schema))));
  });
}

function route(method, path, operation) {
  const details = el("details", { class: "route", id: operation.operationId },
    el("summary", {}, el("span", { class: `method ${method}` }, method.toUpperCase()), el("span", { class: "path" }, path),
      el("span", { class: "about" }, operation.summary), el("span", { class: "need" }, need(operation))));
  // Made when it is first opened: there are many routes, and few are looked at.
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    const content = operation.requestBody?.content["application/json"];
    details.append(el("div", { class: "inside" },
      prose(operation.description),
      operation.parameters ? [el("h3", {}, "Parameters"), el("dl", { class: "fields" }, operation.parameters.map((parameter) =>
        field(parameter.name, parameter.schema, { required: parameter.required, about: parameter.description, place: `in the ${parameter.in}` })))] : "",
      content ? [el("h3", {}, "Body"), inside(content.schema)] : "",
      el("h3", {}, "Answers"), answers(operation),
      trial(method, path, operation)));
  });
  return details;
}

function page() {
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    METHODS.filter((method) => methods[method]).map((method) => ({ method, path, operation: methods[method] })));
  const box = el("input", { id: "key", type: "password", autocomplete: "off", placeholder: "om_…", input: () => {
    key = box.value.trim();
    document.dispatchEvent(new Event("keychange"));
  } });
  const main = [el("h1", {}, api.info.title), el("p", { class: "faint" }, `HTTP interface, version ${api.info.version}. `, el("a", { href: "openapi.json" }, "openapi.json")),
    prose(api.info.description),
    el("div", { class: "key" }, el("label", { for: "key" }, "API key"), box, el("span", { class: "faint" }, "Kept in this page until it is closed, and nowhere else."))];
  const nav = [el("a", { class: "name", href: "#content" }, api.info.title)];
  for (const tag of api.tags) {
    const own = operations.filter(({ operation }) => operation.tags.includes(tag.name));
    main.push(el("h2", {}, tag.name), ...prose(tag.description), ...own.map(({ method, path, operation }) => route(method, path, operation)));
    nav.push(el("h2", {}, tag.name), ...own.map(({ operation }) => el("a", { href: `#${operation.operationId}` }, operation.summary)));
  }
  document.getElementById("content").replaceChildren(...main.flat());
  document.getElementById("nav").replaceChildren(...nav);
}

/** Opens the route that the address names. */
function open() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named?.matches("details")) {
    named.open = true;
    named.scrollIntoView();
  }
}

addEventListener("hashchange", open);
fetch("openapi.json").then((response) => response.json()).then((document) => {
  api = document;
  page();
  open();
}).catch((error) => {
  document.getElementById("content").replaceChildren(el("p", {}, `The document was not loaded: ${error.message}`));
});
