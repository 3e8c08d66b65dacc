/** Which rows of a long list of equal ones are in sight. */
import { type RefObject, useLayoutEffect, useRef, useState } from "react";

/** Rows that stand ready beyond the edges, so that scrolling shows no gap. */
const OVERSCAN = 12;
/** Scrolling changes what is shown once in so many rows. */
const STRIDE = 6;

export interface RowWindow {
  readonly scroller: RefObject<HTMLDivElement | null>;
  /** The half-open span of rows to make. */
  readonly from: number;
  readonly to: number;
}

export function useWindow(count: number, rowPx: number): RowWindow {
  const scroller = useRef<HTMLDivElement>(null);
  const [span, setSpan] = useState({ first: 0, rows: 0 });
  useLayoutEffect(() => {
    const element = scroller.current;
    if (element === null) return;
    const look = (): void => {
      const first = Math.floor(element.scrollTop / rowPx / STRIDE) * STRIDE;
      const rows = Math.ceil(element.clientHeight / rowPx) + STRIDE;
      setSpan((before) => (before.first === first && before.rows === rows ? before : { first, rows }));
    };
    const observer = new ResizeObserver(look);
    observer.observe(element);
    element.addEventListener("scroll", look, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", look);
    };
  }, [rowPx]);
  return {
    scroller,
    from: Math.max(0, Math.min(span.first, count) - OVERSCAN),
    to: Math.min(count, span.first + span.rows + OVERSCAN),
  };
}
