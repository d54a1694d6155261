// Reading an answer that is a stream of events. Knows neither what they are nor who asked.

/** The data of each event as text. `onPiece` hears of whatever comes, comments too. */
export async function* eventData(response, onPiece = () => {}) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    onPiece();
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:"));
      if (data.length) yield data.map((line) => line.slice(5)).join("\n");
    }
  }
}
