/** Where the keyboard is: it never falls back to nowhere because what it stood on has gone. */
import { type RefObject, useEffect, useLayoutEffect, useRef } from "react";

const FOCUSABLE = "a[href], button:not(:disabled), input, select, textarea, summary, [tabindex='0']";

/**
 * Follows the focus until the returned function is called. When the element that has it goes, the
 * one before it that is still there gets it, so that the next Tab goes on from there.
 */
export function keepFocus(): () => void {
  let held: Element | null = null;
  let before: Element[] = [];
  const follow = (event: FocusEvent): void => {
    held = event.target instanceof Element ? event.target : null;
    const all = [...document.querySelectorAll(FOCUSABLE)];
    before = held === null ? [] : all.slice(0, Math.max(0, all.indexOf(held))).reverse();
  };
  const mend = (): void => {
    if (held === null || held.isConnected) return;
    held = null;
    if (isLost()) focusOn(before.find((each) => each.isConnected && each.getClientRects().length > 0) ?? null);
  };
  const observer = new MutationObserver(mend);
  observer.observe(document.body, { childList: true, subtree: true });
  addEventListener("focusin", follow);
  return () => {
    observer.disconnect();
    removeEventListener("focusin", follow);
  };
}

/** Opens a dialog over the page; when it goes, what had the focus before has it again. */
export function useModal(dialog: RefObject<HTMLDialogElement | null>): void {
  useEffect(() => {
    const opener = document.activeElement;
    dialog.current?.showModal();
    return () => {
      if (isLost()) focusOn(opener);
    };
  }, [dialog]);
}

/** For a button that turns into a field: it has the focus again when the field is done with. */
export function useFocusBack(isEditing: boolean): RefObject<HTMLButtonElement | null> {
  const button = useRef<HTMLButtonElement>(null);
  const wasEditing = useRef(isEditing);
  // In the same breath as the field goes, before `keepFocus` finds another place.
  useLayoutEffect(() => {
    if (wasEditing.current && !isEditing && isLost()) focusOn(button.current);
    wasEditing.current = isEditing;
  }, [isEditing]);
  return button;
}

function isLost(): boolean {
  return document.activeElement === null || document.activeElement === document.body;
}

export function focusOn(element: Element | null): void {
  if (element instanceof HTMLElement) element.focus({ preventScroll: true });
}
