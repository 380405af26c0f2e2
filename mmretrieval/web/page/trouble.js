// What went wrong with a request, and the way out of it.

import { collection, Gone } from "./api.js";
import { button, clear, tellError } from "./notices.js";

const LOOK_AGAIN = 3000; // milliseconds between two looks for a server that is gone

export class Trouble {
  /** `prepare()` is called before anything is tried again. */
  constructor(prepare) {
    Object.assign(this, { prepare, looking: null });
  }

  /** Look for the server no more. */
  over() {
    clearTimeout(this.looking);
    this.looking = null;
  }

  /** Say what is wrong; `retry()` is what to do again, when the person says so or the server is back. */
  tell(error, retry) {
    this.over();
    const again = async () => {
      this.over();
      await this.prepare();
      retry();
    };
    // what the person has to mend is the same the next time
    const mendable = error.status >= 400 && error.status < 500;
    const hint = error instanceof Gone ? "Is “mmretrieval serve” still running? The page looks for it again." : "";
    tellError(error.message, hint, ...(mendable ? [] : [button("Try again", again)]));
    if (error instanceof Gone) this.#lookAgain(again);
  }

  #lookAgain(again) {
    const looking = setTimeout(async () => {
      const gone = await collection().then(() => false, (error) => error instanceof Gone);
      if (this.looking !== looking) return; // somebody else found it meanwhile
      if (gone) return this.#lookAgain(again);
      clear("error");
      again();
    }, LOOK_AGAIN);
    this.looking = looking;
  }
}
