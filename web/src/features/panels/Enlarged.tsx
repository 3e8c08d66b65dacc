/** One panel over the whole window; Escape brings the page back. */
import { useEffect, useRef } from "react";

import type { SeriesStore } from "../../api/series";
import type { Crosshair } from "../../charts/crosshair";
import { useModal } from "../../ui/focus";
import { Panel } from "./Panel";
import type { PanelInput } from "./source";

interface EnlargedProps {
  readonly metric: string;
  readonly input: PanelInput;
  readonly store: SeriesStore;
  readonly crosshair: Crosshair;
  readonly onZoom: (range: PanelInput["range"]) => void;
  readonly onEnlarge: (panel: string | null) => void;
}

export function Enlarged({ metric, input, store, crosshair, onZoom, onEnlarge }: EnlargedProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  useModal(dialog);
  useEffect(() => { dialog.current?.focus(); }, []);
  return (
    <dialog ref={dialog} className="enlarged" tabIndex={-1} onClose={() => { onEnlarge(null); }}>
      <Panel
        metric={metric}
        input={input}
        store={store}
        crosshair={crosshair}
        onZoom={onZoom}
        onEnlarge={() => { dialog.current?.close(); }}
        isLarge
      />
    </dialog>
  );
}
