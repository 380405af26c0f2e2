// What went wrong with a request, and the way out of it.

import { collection, Gone } from "./api.js";
import { button, clear, tellError } from "./notices.js";

const LOOK_AGAIN = 3000; // milliseconds between two looks for a server that is gone

export class Trouble {
  /** `prepare()` is called before anything is tried again. */
  constructor(prepare) {
    this.prepare = prepare;
  }

  /** Say what is wrong; `retry()` is what to do again, when the person says so or the server is back. */
  tell(error, retry) {
    clearInterval(this.looking);
    const again = async () => {
      clearInterval(this.looking);
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
    this.looking = setInterval(async () => {
      const gone = await collection().then(() => false, (error) => error instanceof Gone);
      if (gone) return;
      clear("error");
      again();
    }, LOOK_AGAIN);
  }
}
