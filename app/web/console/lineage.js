// Where the line of checkpoints runs: lanes, as a version history is drawn. Knows no element.

export const BASE = "base";

/**
 * Give each checkpoint, newest first, its lane and the lanes that pass it.
 *
 * Returns {rows, lanes}. A row is {id, lane, isTip, above, through, into, goesOn, isAside}: `through`
 * are lanes that run past from top to bottom, `into` lanes from above that end in this node, `above`
 * its own lane's, or null; each of them {lane, isAside}, aside where it leads from what the gate
 * rejected: no part of the line. The last row is the bare base model, unless `hasMore`: then the
 * lines run on below.
 */
export function layOut(checkpoints, hasMore) {
  const waiting = []; // by lane: whose child stands above, and whether that child is no part of the line
  const rows = [];
  const place = (id, parent, isAside) => {
    const into = waiting.flatMap((it, lane) => (it?.parent === id ? [{ lane, isAside: it.isAside }] : []));
    const lane = into[0]?.lane ?? firstFree(waiting);
    for (const other of into) waiting[other.lane] = null;
    waiting[lane] = parent && { parent, isAside };
    rows.push({
      id,
      lane,
      isAside,
      isTip: into.length === 0,
      above: into[0] ?? null,
      into: into.slice(1),
      through: waiting.flatMap((it, at) => (it && at !== lane ? [{ lane: at, isAside: it.isAside }] : [])),
      goesOn: parent !== null,
    });
  };
  for (const { id, parent_id: parent, verdict } of checkpoints)
    place(id, parent ?? BASE, verdict.status !== "accepted");
  if (!hasMore) place(BASE, null, false);
  const used = rows.flatMap((row) => [row.lane, ...[...row.through, ...row.into].map(({ lane }) => lane)]);
  return { rows, lanes: Math.max(0, ...used) + 1 };
}

function firstFree(waiting) {
  const free = waiting.indexOf(null);
  return free === -1 ? waiting.length : free;
}
