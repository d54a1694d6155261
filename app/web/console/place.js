// Where this page is, and where others are: instance, view and cycle stand in the address. Knows
// no element.

const parts = location.pathname.split("/").slice(2).map(decode);

/** `instance`: null in the view of all of them. `part`: "" in the view of one at a glance. */
export const here = { instance: parts[0] || null, part: parts[1] ?? "", cycle: parts[2] ?? null };

export const query = new URLSearchParams(location.search);

/** The address of a view of an instance. */
export const placeOf = (instance, ...rest) =>
  ["/console", ...[instance, ...rest].filter(Boolean).map(encodeURIComponent)].join("/");

/** The address of this view with other parameters; those without a value are taken out. */
export function withQuery(changes) {
  const wanted = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") wanted.delete(name);
    else wanted.set(name, value);
  }
  return wanted.size ? `${location.pathname}?${wanted}` : location.pathname;
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
