// What server and browser say to each other.

/** One day. */
export interface Bar {
    /** `YYYY-MM-DD`. */
    time: string;
    open: number;
    high: number;
    low: number;
    close: number;
    /** Shares. */
    volume: number;
}

/** A symbol that there are bars of. */
export interface Listed {
    symbol: string;
    /** First day. */
    first: string;
    /** Last day. */
    last: string;
    rows: number;
}

/** An answer of this application's server, or the reason that it gave for having none. */
export async function ask<T>(path: string, signal?: AbortSignal): Promise<T> {
    const response = await fetch(path, { signal });
    const body = await response.json().catch(() => null);
    if (!response.ok || body === null) {
        throw new Error(body?.error ?? `${path} was answered with ${response.status}.`);
    }
    return body as T;
}
