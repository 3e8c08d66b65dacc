/** One animation frame for all charts: each asks to be drawn, and is drawn once. */
const waiting = new Set<() => void>();
let isAsked = false;

export function nextFrame(draw: () => void): void {
  waiting.add(draw);
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(() => {
    isAsked = false;
    const draws = [...waiting];
    waiting.clear();
    for (const each of draws) each();
  });
}

/** A chart that is gone must not be drawn. */
export function cancelFrame(draw: () => void): void {
  waiting.delete(draw);
}
