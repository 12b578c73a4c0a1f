// Who is signed in, and what that key may do.

import { useEffect, useState } from "./lib/preact.js";
import { del, get, post, setCredentials } from "./api.js";

const MAY = {
  invoke: ["invoke"],
  read: ["read"],
  approve: ["approve"],
  deploy: ["deploy", "read"],
  admin: ["admin", "deploy", "approve", "read", "invoke"],
};

// `undefined` until it is known, null when signed out.
let session;
const listeners = new Set();

function become(next) {
  session = next;
  setCredentials(next?.csrf ?? "", () => session && become(null));
  for (const tell of listeners) tell(next);
}

// Ask once whether there is a session. An error that is not "signed out" is thrown.
export async function resume() {
  try {
    become(await get("v1/session", null, { quiet: true }));
  } catch (error) {
    if (error.status !== 401) throw error;
    become(null);
  }
}

export const signIn = async (key) => become(await post("v1/session", { key }, { quiet: true }));

export async function signOut() {
  await del("v1/session", null, { quiet: true }).catch((error) => {
    if (error.status !== 401) throw error;
  });
  become(null);
}

// `{name, scope, expires_at}`, null when signed out, undefined while that is not known yet.
export function useSession() {
  const [now, set] = useState(session);
  useEffect(() => {
    listeners.add(set);
    set(session);
    return () => listeners.delete(set);
  }, []);
  return now;
}

// Whether the session's key has a scope: `may("admin")`.
export const may = (scope) => (MAY[session?.scope] ?? []).includes(scope);
