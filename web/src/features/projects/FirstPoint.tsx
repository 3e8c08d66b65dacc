/** The empty server: lines to copy, and the wait for the first point. */
import { PREFIX } from "../../lib/prefix";
import { CodeLines } from "../../ui/parts";

export function FirstPoint() {
  return (
    <main className="page first">
      <h1>Log your first run</h1>
      <p className="muted">Run these lines where Runlore is installed, as it is where this server runs. The chart opens here by itself.</p>
      <CodeLines title="Terminal" code={`export RUNLORE_URL=${location.origin}${PREFIX}`} />
      <CodeLines title="Python" code={LINES} />
      <p className="waiting" role="status">
        <svg viewBox="0 0 120 24" aria-hidden="true"><path d="M0 4C18 20 34 19 58 20.5S104 21.4 120 21.6" /></svg>
        Waiting for your first point
      </p>
    </main>
  );
}

const LINES = `import math
import runlore

with runlore.init(project="first-steps") as run:
    for step in range(1000):
        run.log({"train/loss": math.exp(-step / 200), "train/lr": 0.01})`;
