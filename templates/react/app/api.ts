// The two questions that the page asks, answered beside `vite` (vite.config.ts) and beside what was built (server.ts).

import type { IncomingMessage, ServerResponse } from "node:http";
import { bars, DataError, failure, symbols } from "./src/dashboard/data.ts";

/** Answers a request for `/api/…`; whether it was one. */
export function api(request: IncomingMessage, response: ServerResponse): boolean {
    // Of an address that begins with //, a URL would take the rest for a host.
    const url = new URL(`http://localhost${request.url ?? "/"}`);
    if (!url.pathname.startsWith("/api/")) {
        return false;
    }
    answer(request.method, url).then(
        (body) => send(response, 200, body),
        (error) => {
            const { status, message } = failure(error);
            send(response, status, { error: message });
        },
    );
    return true;
}

async function answer(method: string | undefined, { pathname, searchParams }: URL): Promise<unknown> {
    if (method !== "GET" && method !== "HEAD") {
        throw new DataError(405, "It can only be read: GET.");
    }
    switch (pathname) {
        case "/api/symbols":
            return symbols();
        case "/api/bars":
            return bars(searchParams.get("symbol") ?? "", searchParams.get("kind") ?? undefined);
        default:
            throw new DataError(404, `There is no ${pathname}.`);
    }
}

function send(response: ServerResponse, status: number, body: unknown): void {
    response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store" });
    response.end(JSON.stringify(body));
}
