/** A run's colour, in a shape that tells its state, over its stroke where colours repeat: colour alone tells nothing. */
import type { ReactNode } from "react";

interface RunMarkProps {
  readonly color: string;
  readonly state: "running" | "finished" | "failed" | "crashed";
  readonly isShown: boolean;
  /** The pattern of its stroke in the charts; empty for an unbroken one. */
  readonly dash: readonly number[];
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

export function RunMark({ color, state, isShown, dash }: RunMarkProps) {
  return (
    <svg
      className={dash.length > 0 ? "mark is-dashed" : "mark"}
      viewBox={dash.length > 0 ? "0 -2 16 22" : "0 0 16 16"}
      aria-hidden="true"
      style={{ fill: color, stroke: color }}
    >
      {isShown ? SHAPES[state] : HIDDEN}
      {dash.length > 0 && <path d="M0 18h16" fill="none" strokeWidth="2" strokeDasharray={dash.join(" ")} />}
    </svg>
  );
}
