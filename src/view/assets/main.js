// The viewer's beginning: the pages, with a server as the source of their data.

import { start } from "./app.js";
import { ServerSource } from "./source-server.js";

// The token has become a cookie by now and need not stay in the address, where others may read it.
const address = new URL(location.href);
if (address.searchParams.has("token")) {
  address.searchParams.delete("token");
  history.replaceState(null, "", address);
}

start(new ServerSource());
