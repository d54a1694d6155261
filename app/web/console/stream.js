// Following a list of events live. EventSource cannot send a token, so the stream is read with
// fetch; where no stream gets through (a proxy that buffers), the list is asked every few seconds.

import { address, get, request } from "./api.js";

const FIRST_LINE_SECONDS = 5;
const SILENCE_SECONDS = 45; // the daemon says something every 15
const POLL_SECONDS = 3;
const POLLS_BEFORE_NEXT_STREAM = 20;

/**
 * Tell `onEvent` of every event after `after`, until `signal` aborts. `onState` hears "live",
 * "polling" or "away".
 */
export async function follow(path, { after, signal, onEvent, onState }) {
  let last = after;
  const take = (event) => {
    last = event.id;
    onEvent(event);
  };
  while (!signal.aborted) {
    try {
      await readStream(path, last, { signal, onEvent: take, onOpen: () => onState("live") });
    } catch (error) {
      if (signal.aborted) return;
      if (error.isSilent) await poll(path, () => last, { signal, onEvent: take, onState });
      else onState("away");
    }
    await pause(1, signal);
  }
}

async function readStream(path, after, { signal, onEvent, onOpen }) {
  const own = new AbortController();
  const stop = () => own.abort();
  signal.addEventListener("abort", stop, { once: true });
  let silence;
  let isOpen = false;
  let isSilent = false;
  const listen = (seconds) => {
    clearTimeout(silence);
    silence = setTimeout(() => {
      isSilent = !isOpen;
      stop();
    }, seconds * 1000);
  };
  try {
    const headers = { Accept: "text/event-stream", "Last-Event-ID": String(after) };
    listen(FIRST_LINE_SECONDS);
    const response = await request(path, { headers, signal: own.signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return;
      if (!isOpen) onOpen();
      isOpen = true;
      listen(SILENCE_SECONDS);
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const data = block.split("\n").filter((line) => line.startsWith("data:"));
        if (data.length) onEvent(JSON.parse(data.map((line) => line.slice(5)).join("\n")));
      }
    }
  } catch (error) {
    error.isSilent = isSilent;
    throw error;
  } finally {
    clearTimeout(silence);
    signal.removeEventListener("abort", stop);
  }
}

async function poll(path, last, { signal, onEvent, onState }) {
  for (let polls = 0; polls < POLLS_BEFORE_NEXT_STREAM && !signal.aborted; polls++) {
    const page = await get(address(path, { after: last() }));
    onState("polling");
    page.data.forEach(onEvent);
    if (!page.has_more) await pause(POLL_SECONDS, signal);
  }
}

function pause(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
