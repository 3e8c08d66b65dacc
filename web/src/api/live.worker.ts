/** Holds the one live stream of this browser and shares it with every tab. */
import { decodeMessage } from "./decode";
import { LiveHub } from "./hub";

const hub = new LiveHub();

self.addEventListener("connect", (event) => {
  const port = event instanceof MessageEvent ? event.ports[0] : undefined;
  if (port === undefined) return;
  let leave: (() => void) | null = null;
  port.onmessage = (message: MessageEvent) => {
    leave?.();
    leave = decodeMessage<string>(message) === "join" ? hub.join((signal) => { port.postMessage(signal); }) : null;
  };
});
