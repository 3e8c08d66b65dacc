import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { expect, test } from "vitest";

import { renew } from "../src/api/queries";

test("what changes while the first answer is on its way is asked for again", async () => {
  const client = new QueryClient();
  const answers: ((runs: readonly string[]) => void)[] = [];
  const queryFn = () => new Promise<readonly string[]>((resolve) => { answers.push(resolve); });
  const observer = new QueryObserver(client, { queryKey: ["runs", "p"], queryFn });
  const stop = observer.subscribe(() => undefined);
  expect(answers).toHaveLength(1);

  const renewed = renew(client, { queryKey: ["runs"] });
  answers[0]?.(["old"]);
  await expect.poll(() => answers.length).toBe(2);
  answers[1]?.(["old", "new"]);
  await renewed;

  expect(observer.getCurrentResult().data).toEqual(["old", "new"]);
  stop();
  client.clear();
});
