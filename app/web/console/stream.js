// Following a list of events live. EventSource cannot send a token, so the stream is read with
// fetch; where no stream gets through (a proxy that buffers), the list is asked every few seconds.

import { address, get, request } from "./api.js";
import { eventData } from "./sse.js";

const FIRST_LINE_SECONDS = 5;
const SILENCE_SECONDS = 45; // the daemon says something every 15
const POLL_SECONDS = 3;
const POLLS_BEFORE_NEXT_STREAM = 20;

/** Tell `onEvent` of every event after `after`. `onState` hears "live", "polling" or "away". */
export async function follow(path, { after, onEvent, onState }) {
  let last = after;
  const take = (event) => {
    // What is only told, and kept nowhere, has no number to go on from.
    if (event.id > last) last = event.id;
    onEvent(event);
  };
  for (;;) {
    try {
      await readStream(path, last, { onEvent: take, onOpen: () => onState("live") });
    } catch (error) {
      if (error.isSilent)
        await poll(path, () => last, { onEvent: take, onState }).catch(() => onState("away"));
      else onState("away");
    }
    await pause(1);
  }
}

async function readStream(path, after, { onEvent, onOpen }) {
  const own = new AbortController();
  const stop = () => own.abort();
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
    const heard = () => {
      if (!isOpen) onOpen();
      isOpen = true;
      listen(SILENCE_SECONDS);
    };
    for await (const data of eventData(response, heard)) onEvent(JSON.parse(data));
  } catch (error) {
    error.isSilent = isSilent;
    throw error;
  } finally {
    clearTimeout(silence);
  }
}

async function poll(path, last, { onEvent, onState }) {
  for (let polls = 0; polls < POLLS_BEFORE_NEXT_STREAM; polls++) {
    const page = await get(address(path, { after: last() }));
    onState("polling");
    page.data.forEach(onEvent);
    if (!page.has_more) await pause(POLL_SECONDS);
  }
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
