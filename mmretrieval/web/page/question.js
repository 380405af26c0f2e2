// The question as it stands in the address of the page; recordings and clips are only in this page's memory.

export const FILTERS = ["folder", "after", "before", "min_seconds", "max_seconds", "path"];
const SINGLE = ["text", "without", "like", ...FILTERS];

const uploads = new Map();

/** Read the question of an address. */
export function read(address, state) {
  const parameters = new URLSearchParams(address);
  const question = { tag: parameters.getAll("tag").filter(Boolean), upload: uploads.get(state?.upload) ?? null };
  for (const name of SINGLE) question[name] = (parameters.get(name) ?? "").trim();
  question.lost = Boolean(state?.upload && !question.upload);
  return question;
}

/** Write a question as parameters of an address. */
export function write(question) {
  const parameters = new URLSearchParams();
  for (const name of SINGLE) if (question[name]) parameters.set(name, question[name]);
  for (const tag of question.tag) parameters.append("tag", tag);
  return parameters;
}

/** Return the address of the page and the state of its history for a question. */
export function place(question, hash = "") {
  const parameters = write(question).toString();
  return { address: `/${parameters ? `?${parameters}` : ""}${hash}`, state: { upload: keep(question.upload) } };
}

/** Whether there is something to look for; filters alone are not. */
export const isAsked = (question) => Boolean(question.text || question.like || question.upload);

export const isFiltered = (question) => FILTERS.some((name) => question[name]) || question.tag.length > 0;

export function unfiltered(question) {
  return { ...question, ...Object.fromEntries(FILTERS.map((name) => [name, ""])), tag: [] };
}

/** Return the name under which an upload is remembered; it lives as long as the page. */
function keep(upload) {
  if (!upload) return null;
  upload.key ??= `${Date.now()}-${uploads.size}`;
  uploads.set(upload.key, upload);
  return upload.key;
}
