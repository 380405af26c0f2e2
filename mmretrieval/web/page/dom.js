// Elements, and how numbers are written.

export const $ = (id) => document.getElementById(id);

/** Make an element: properties are set, `on…` are listeners, names with a dash are attributes; children follow. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** Make one of the drawings of index.html. */
export function icon(name) {
  const namespace = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(namespace, "svg");
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(namespace, "use");
  use.setAttribute("href", `#i-${name}`);
  drawing.append(use);
  return drawing;
}

/** Write seconds as 1:05 or 1:02:05; with tenths where they are not 0 and asked for. */
export function clock(seconds, tenths = false) {
  const whole = tenths ? Math.round(seconds * 10) / 10 : Math.floor(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const last = tenths && rest % 1 ? rest.toFixed(1).padStart(4, "0") : String(Math.floor(rest)).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${last}` : `${minutes}:${last}`;
}

/** Write a span, with tenths where the seconds alone would hide that it is one. */
export function span(start, end) {
  const tenths = start % 1 >= 0.05 || end % 1 >= 0.05;
  return `${clock(start, tenths)}–${clock(end, tenths)}`;
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString()} ${number === 1 ? one : many}`;
}

/** Write a moment in time as a day; what is no date stays as it is. */
export function day(text) {
  const date = new Date(text);
  return Number.isNaN(date.valueOf()) ? text : date.toLocaleDateString(undefined, { dateStyle: "medium" });
}

/** Whether keys that are typed here belong to what has the focus. */
export function isTyping(target) {
  return target.matches?.("input:not([type=radio]):not([type=checkbox]), textarea, select") ?? false;
}

/** Whether the focus is nowhere or still in `place`: whether moving it takes it from nobody. */
export function isFree(place) {
  const focused = document.activeElement;
  return !focused || focused === document.body || place.contains(focused);
}

/** Remembered between visits, where the browser allows it. */
export const memory = {
  get(name, otherwise) {
    try {
      return JSON.parse(localStorage.getItem(name)) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(name, JSON.stringify(value));
    } catch {
      // private windows: forgotten with the page
    }
  },
};
