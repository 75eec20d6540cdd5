// What the browser keeps: choices of the user for good, the rest as long as the tab is open.

function attempt(act) {
  try {
    return act();
  } catch {
    // Browsers may forbid it, or be full; the page works without.
    return null;
  }
}

export const remembered = (name) => attempt(() => localStorage.getItem(`flowcore.${name}`));
export const remember = (name, value) =>
  attempt(() => localStorage.setItem(`flowcore.${name}`, value));

let keyWithoutStorage = null;

// The same place as that of /docs. A key is never part of a URL, nor of the history.
export const key = {
  get: () => attempt(() => sessionStorage.getItem("flowcore.key")) ?? keyWithoutStorage,
  set: (value) => {
    keyWithoutStorage = value;
    attempt(() => sessionStorage.setItem("flowcore.key", value));
  },
  forget: () => {
    keyWithoutStorage = null;
    attempt(() => sessionStorage.removeItem("flowcore.key"));
  },
};

export function readList(name) {
  const list = attempt(() => JSON.parse(sessionStorage.getItem(`flowcore.${name}`)));
  return Array.isArray(list) ? list : [];
}

// Returns whether there was room for it.
export const writeList = (name, list) =>
  attempt(() => {
    sessionStorage.setItem(`flowcore.${name}`, JSON.stringify(list));
    return true;
  }) ?? false;
