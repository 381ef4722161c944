// A report's beginning: the pages, with the file itself as the source of their data.

import { start } from "./app.js";
import { unpack } from "./source-report.js";

const waiting = document.querySelector(".unpacking");

unpack().then(
  (source) => {
    waiting.remove();
    start(source);
  },
  (error) => {
    waiting.textContent = `This report cannot be read; the file may have been cut off. ${error.message}`;
  },
);
