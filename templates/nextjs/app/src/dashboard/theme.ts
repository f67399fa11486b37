// Light or dark: the system's choice until the user makes one.

import { useSyncExternalStore } from "react";

export type Theme = "light" | "dark";

const KEY = "theme";
const listeners = new Set<() => void>();

function current(): Theme {
    const chosen = document.documentElement.dataset.theme ?? stored();
    if (chosen === "light" || chosen === "dark") {
        return chosen;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

// A browser may be told to keep nothing.
function stored(): string | null {
    try {
        return localStorage.getItem(KEY);
    } catch {
        return null;
    }
}

function subscribe(changed: () => void): () => void {
    const system = matchMedia("(prefers-color-scheme: dark)");
    const chosen = stored();
    if (chosen === "light" || chosen === "dark") {
        document.documentElement.dataset.theme = chosen;
    }
    system.addEventListener("change", changed);
    listeners.add(changed);
    return () => {
        system.removeEventListener("change", changed);
        listeners.delete(changed);
    };
}

/** The theme in force, and how to choose one. */
export function useTheme(): [Theme, (theme: Theme) => void] {
    return [useSyncExternalStore(subscribe, current, () => "light"), choose];
}

function choose(theme: Theme): void {
    document.documentElement.dataset.theme = theme;
    try {
        localStorage.setItem(KEY, theme);
    } catch {
        // It holds for this page, then.
    }
    listeners.forEach((changed) => changed());
}

/** A colour of dashboard.css, as what a canvas understands. */
export function colour(name: string): string {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
