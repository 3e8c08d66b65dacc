/** Which part of a tall element is near the window. */
import { type RefObject, useLayoutEffect, useRef, useState } from "react";

/** What stands ready beyond the edges, so that scrolling shows no gap. */
const BEYOND_PX = 900;
/** Scrolling changes what is shown once in so many pixels. */
const STRIDE_PX = 300;

export interface Near {
  readonly frame: RefObject<HTMLDivElement | null>;
  readonly from: number;
  readonly to: number;
}

/** The frame may scroll in anything: where it is, the window tells. */
export function useNear(): Near {
  const frame = useRef<HTMLDivElement>(null);
  const [from, setFrom] = useState(0);
  const [tall, setTall] = useState(innerHeight);
  useLayoutEffect(() => {
    const look = (): void => {
      const { top = 0 } = frame.current?.getBoundingClientRect() ?? {};
      setFrom(Math.max(0, Math.floor(-top / STRIDE_PX) * STRIDE_PX));
      setTall(innerHeight);
    };
    look();
    addEventListener("scroll", look, { capture: true, passive: true });
    addEventListener("resize", look);
    return () => {
      removeEventListener("scroll", look, { capture: true });
      removeEventListener("resize", look);
    };
  }, []);
  return { frame, from: from - BEYOND_PX, to: from + tall + STRIDE_PX + BEYOND_PX };
}
