// Asking the daemon. Where it demands a token, the answer 401 makes the page ask for one and then
// the request is sent again.

import { askForToken, readToken } from "./token.js";

/** What the daemon refused, with its problem document (RFC 9457). */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `The daemon answered ${status}.`);
    this.status = status;
    this.kind = (problem.type ?? "").split(":").at(-1);
  }
}

/** Send a request and return the response. Throws Refused, or TypeError when nobody answers. */
export async function request(path, { method = "GET", body, headers = {}, signal } = {}) {
  for (;;) {
    const token = readToken();
    const response = await fetch(path, {
      method,
      signal,
      cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: {
        Accept: "application/json",
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...(token ? { Authorization: `Bearer ${token}` } : {}),
        ...headers,
      },
    });
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    const refused = new Refused(response.status, problem);
    const isUnfit = response.status === 401 || (method === "GET" && refused.kind === "scope-missing");
    if (!isUnfit || !(await askForToken(refused.message, token))) throw refused;
  }
}

export const get = async (path, parameters = {}) => (await request(address(path, parameters))).json();

export const post = async (path, body = {}, headers = {}) =>
  (await request(path, { method: "POST", body, headers })).json();

export const patch = async (path, body) => (await request(path, { method: "PATCH", body })).json();

/** A path with its query; parameters without a value are left out. */
export function address(path, parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  return query.size ? `${path}${path.includes("?") ? "&" : "?"}${query}` : path;
}
