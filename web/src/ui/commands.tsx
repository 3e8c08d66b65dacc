/** Every action is a command: it has a name in the palette and most have a key. */
import { createContext, type ReactNode, useContext, useEffect, useMemo, useRef, useState } from "react";

import { matcherOf } from "../lib/matcher";
import { useModal } from "./focus";

export interface Command {
  readonly name: string;
  /** The key as `KeyboardEvent.key` names it; empty for none. */
  readonly key: string;
  readonly run: () => void;
}

export class CommandBook {
  readonly #sets = new Set<readonly Command[]>();

  add(commands: readonly Command[]): () => void {
    this.#sets.add(commands);
    return () => { this.#sets.delete(commands); };
  }

  /** All commands, those that came last first. */
  all(): Command[] {
    return [...this.#sets].reverse().flat();
  }
}

const BookContext = createContext(new CommandBook());

/** Offers commands as long as the calling component is shown. */
export function useCommands(commands: readonly Command[]): void {
  const book = useContext(BookContext);
  useEffect(() => book.add(commands), [book, commands]);
}

export function CommandProvider({ children }: { readonly children: ReactNode }) {
  const book = useMemo(() => new CommandBook(), []);
  const [isOpen, setOpen] = useState(false);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setOpen((before) => !before);
        return;
      }
      if (event.metaKey || event.ctrlKey || event.altKey || isTyping(event)) return;
      if (event.key === "?") {
        event.preventDefault();
        setOpen(true);
        return;
      }
      const command = book.all().find((each) => each.key === event.key);
      if (command === undefined) return;
      event.preventDefault();
      command.run();
    };
    addEventListener("keydown", onKey);
    return () => { removeEventListener("keydown", onKey); };
  }, [book]);
  return (
    <BookContext value={book}>
      <OpenContext value={setOpen}>
        {children}
        {isOpen && <Palette commands={book.all()} onClose={() => { setOpen(false); }} />}
      </OpenContext>
    </BookContext>
  );
}

const OpenContext = createContext<(isOpen: boolean) => void>(() => undefined);

export function PaletteButton() {
  const open = useContext(OpenContext);
  return (
    <button className="button quiet palette-button" onClick={() => { open(true); }} title="All commands">
      <span>Commands</span>
      <kbd>{isMac() ? "⌘K" : "Ctrl K"}</kbd>
    </button>
  );
}

interface PaletteProps {
  readonly commands: readonly Command[];
  readonly onClose: () => void;
}

function Palette({ commands, onClose }: PaletteProps) {
  const [search, setSearch] = useState("");
  const [chosen, setChosen] = useState(0);
  const dialog = useRef<HTMLDialogElement>(null);
  const list = useRef<HTMLDivElement>(null);
  useModal(dialog);
  useEffect(() => { list.current?.children[chosen]?.scrollIntoView({ block: "nearest" }); }, [chosen]);
  const found = commands.filter((command) => matcherOf(search).matches(command.name));
  const run = (command: Command | undefined): void => {
    if (command === undefined) return;
    // Closed first: behind an open dialog nothing can be focused.
    dialog.current?.close();
    command.run();
  };
  return (
    <dialog
      ref={dialog}
      className="palette"
      onClose={onClose}
      onClick={(event) => { if (event.target === dialog.current) onClose(); }}
      onKeyDown={(event) => {
        if (event.key === "ArrowDown") setChosen(Math.min(found.length - 1, chosen + 1));
        else if (event.key === "ArrowUp") setChosen(Math.max(0, chosen - 1));
        else if (event.key === "Enter") run(found[chosen]);
        else return;
        event.preventDefault();
      }}
    >
      <input
        className="palette-input"
        placeholder="Do something…"
        aria-label="Search commands"
        role="combobox"
        aria-expanded
        aria-controls="palette-list"
        aria-activedescendant={`palette-${String(chosen)}`}
        value={search}
        autoFocus
        onChange={(event) => { setSearch(event.target.value); setChosen(0); }}
      />
      <div ref={list} id="palette-list" className="palette-list" role="listbox" aria-label="Commands">
        {found.map((command, index) => (
          <button
            key={command.name}
            id={`palette-${String(index)}`}
            role="option"
            tabIndex={-1}
            aria-selected={index === chosen}
            className="palette-item"
            onMouseMove={() => { setChosen(index); }}
            onClick={() => { run(command); }}
          >
            <span>{command.name}</span>
            {command.key !== "" && <kbd>{keyName(command.key)}</kbd>}
          </button>
        ))}
        {found.length === 0 && <p className="palette-none">No command has that in its name.</p>}
      </div>
    </dialog>
  );
}

function keyName(key: string): string {
  if (key.length > 1) return key;
  return key === key.toLowerCase() ? key.toUpperCase() : `⇧${key}`;
}

function isTyping({ target, key }: KeyboardEvent): boolean {
  if (!(target instanceof HTMLElement)) return false;
  // A letter chooses among the options of a list; other keys mean nothing to it.
  if (target.matches("select")) return /[\p{L}\p{N}\s]/u.test(key);
  return target.isContentEditable || target.matches("input:not([type=range]), textarea, .palette *, .ask *");
}

function isMac(): boolean {
  return navigator.platform.startsWith("Mac");
}
