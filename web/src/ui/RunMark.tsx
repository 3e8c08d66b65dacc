/** A run's colour, in a shape that tells its state: colour alone never does. */
import type { ReactNode } from "react";

interface RunMarkProps {
  readonly color: string;
  readonly state: "running" | "finished" | "failed" | "crashed";
  readonly isShown: boolean;
}

const SHAPES: Readonly<Record<RunMarkProps["state"], ReactNode>> = {
  running: (
    <>
      <circle cx="8" cy="8" r="5.6" fill="none" strokeWidth="1.4" />
      <circle cx="8" cy="8" r="2.9" stroke="none" />
    </>
  ),
  finished: <circle cx="8" cy="8" r="4.6" stroke="none" />,
  failed: <path d="m4.2 4.2 7.6 7.6m0-7.6-7.6 7.6" fill="none" strokeWidth="2.4" strokeLinecap="round" />,
  crashed: <path d="M8 3 13.2 12.4H2.8Z" strokeWidth="1" strokeLinejoin="round" />,
};

const HIDDEN = <circle cx="8" cy="8" r="4" fill="none" strokeWidth="1.4" />;

export function RunMark({ color, state, isShown }: RunMarkProps) {
  return (
    <svg className="mark" viewBox="0 0 16 16" aria-hidden="true" style={{ fill: color, stroke: color }}>
      {isShown ? SHAPES[state] : HIDDEN}
    </svg>
  );
}
