// What is asked of the server, and what may go wrong.

/** The server said no; `message` is the line for the person. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The server cannot be reached. */
export class Gone extends Error {}

async function call(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Gone("The server does not answer.");
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Problem(answer.status, said.detail ?? `The server answered ${answer.status} ${answer.statusText}`.trim());
}

async function json(address, options) {
  const answer = await call(address, options);
  try {
    return await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Gone("The server broke off its answer.");
  }
}

export const collection = (signal) => json("/api/collection", { signal });
export const setAside = () => json("/api/set-aside");
export const moment = (id, signal) => json(`/api/moments/${encodeURIComponent(id)}`, { signal });

/** Ask for an address only to learn what is wrong with it. */
export async function whatIsWrong(address) {
  const stop = new AbortController();
  try {
    await call(address, { signal: stop.signal, headers: { Range: "bytes=0-0" } });
    return null;
  } catch (error) {
    return error;
  } finally {
    stop.abort();
  }
}

/** Ask a question; what was recorded or uploaded travels in the body, and again for every page. */
export function search(question, upload, page, signal) {
  const parameters = new URLSearchParams(question);
  for (const [name, value] of Object.entries(page)) parameters.set(name, value);
  if (!upload) return json(`/api/search?${parameters}`, { signal });
  parameters.set("as", upload.kind);
  const headers = { "Content-Type": upload.type };
  return json(`/api/search?${parameters}`, { method: "POST", body: upload.blob, headers, signal });
}
