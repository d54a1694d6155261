// Where the line of checkpoints runs: lanes, as a version history is drawn. Knows no element.

export const BASE = "base";

/**
 * Give each checkpoint, newest first, its lane and the lanes that pass it.
 *
 * Returns [{id, lane, isTip, through, into}]: `through` are lanes that run past from top to bottom,
 * `into` lanes from above that end in this node. The last row is the bare base model, unless
 * `hasMore`: then the lines run on below.
 */
export function layOut(checkpoints, hasMore) {
  const waiting = []; // by lane: whose child stands above
  const rows = [];
  const place = (id, parent) => {
    const into = waiting.flatMap((wanted, lane) => (wanted === id ? [lane] : []));
    const lane = into[0] ?? firstFree(waiting);
    for (const other of into) waiting[other] = null;
    waiting[lane] = parent;
    rows.push({
      id,
      lane,
      isTip: into.length === 0,
      into: into.filter((other) => other !== lane),
      through: waiting.flatMap((wanted, at) => (wanted !== null && at !== lane ? [at] : [])),
      goesOn: parent !== null,
    });
  };
  for (const { id, parent_id: parent } of checkpoints) place(id, parent ?? BASE);
  if (!hasMore) place(BASE, null);
  return {
    rows,
    lanes: Math.max(1, ...rows.map((row) => Math.max(row.lane, ...row.through, ...row.into) + 1)),
  };
}

function firstFree(waiting) {
  const free = waiting.indexOf(null);
  return free === -1 ? waiting.length : free;
}
