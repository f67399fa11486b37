// What /data holds. Runs on the server: a browser cannot read files.

import { readFile } from "node:fs/promises";
import type { Bar, Listed } from "./bars.ts";

const DATA = process.env.DATA_DIR ?? "/data";

/** What a request asks for and cannot be given, with the status to answer it with. */
export class DataError extends Error {
    readonly status: number;

    constructor(status: number, message: string, options?: ErrorOptions) {
        super(message, options);
        this.status = status;
    }
}

/** The symbols that there are bars of. */
export async function symbols(): Promise<Listed[]> {
    const manifest = JSON.parse(await text("manifest.json")) as { symbols: Listed[] };
    return manifest.symbols.map(({ symbol, first, last, rows }) => ({ symbol, first, last, rows }));
}

/** All bars of a symbol, oldest day first; adjusted for splits and dividends, or as they were traded. */
export async function bars(symbol: string, kind = "adjusted"): Promise<Bar[]> {
    if (kind !== "adjusted" && kind !== "raw") {
        throw new DataError(400, `There are adjusted and raw bars, not ${JSON.stringify(kind)}.`);
    }
    const known = (await symbols()).map((listed) => listed.symbol);
    // The name becomes a part of a path: only one that is listed does.
    if (!known.includes(symbol)) {
        throw new DataError(404, `There are no bars of ${JSON.stringify(symbol)}, but of ${known.join(", ")}.`);
    }
    return parse(await text(`${kind}/${symbol}.csv`));
}

/** What a failure is answered with. */
export function failure(error: unknown): { status: number; message: string } {
    if (error instanceof DataError) {
        return { status: error.status, message: error.message };
    }
    console.error(error);
    return { status: 500, message: "The bars could not be read; the server's output says why." };
}

async function text(path: string): Promise<string> {
    const at = `${DATA}/${path}`;
    try {
        // It lies outside of the project, where a build of Next.js would look for what to bring along.
        return await readFile(/*turbopackIgnore: true*/ at, "utf8");
    } catch (error) {
        throw new DataError(503, `${at} cannot be read: ${(error as Error).message}`, { cause: error });
    }
}

function parse(csv: string): Bar[] {
    const [header, ...lines] = csv.trimEnd().split("\n");
    if (header !== "date,open,high,low,close,volume") {
        throw new DataError(500, `The columns are ${header}, not date,open,high,low,close,volume.`);
    }
    return lines.map((line) => {
        const [time, ...numbers] = line.split(",");
        const [open, high, low, close, volume] = numbers.map(Number);
        return { time, open, high, low, close, volume };
    });
}
