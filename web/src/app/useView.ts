/** The view of the present page, read from the URL and written to it. */
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback, useMemo } from "react";

import { type Params, readView, type View, type ViewChange, writeView } from "../lib/view";

export function useView(): readonly [View, ViewChange] {
  const params: Params = useSearch({ strict: false });
  const navigate = useNavigate();
  const text = JSON.stringify(params);
  // eslint-disable-next-line react-hooks/exhaustive-deps -- `text` is `params`, compared by value
  const view = useMemo(() => readView(params), [text]);
  const onView = useCallback<ViewChange>(
    (change) => {
      void navigate({
        to: ".",
        search: (before: Params) => writeView({ ...readView(before), ...change }),
        // Zooming is a place to come back from; a toggle is not.
        replace: !("zoom" in change || "panel" in change),
        resetScroll: false,
      });
    },
    [navigate],
  );
  return [view, onView];
}
