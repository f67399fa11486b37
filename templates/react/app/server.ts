// Serves what `vite build` made, and the bars of /data. Node alone: `node server.ts`.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import { extname, join, normalize } from "node:path";
import { api } from "./api.ts";

const PORT = Number(process.env.PORT ?? 3000);
const DIST = join(import.meta.dirname, "dist");
const TYPES: Record<string, string> = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
};

const server = createServer((request, response) => {
    if (api(request, response)) {
        return;
    }
    if (request.method !== "GET" && request.method !== "HEAD") {
        return refuse(response, 405, "It can only be read: GET.");
    }
    file(request.url ?? "/").then(
        (path) => {
            // Files in assets/ are named after their content.
            const kept = path.startsWith(join(DIST, "assets")) ? "public, max-age=31536000, immutable" : "no-cache";
            const type = TYPES[extname(path)] ?? "application/octet-stream";
            response.writeHead(200, { "content-type": type, "cache-control": kept });
            if (request.method === "HEAD") {
                return response.end();
            }
            createReadStream(path).on("error", () => response.destroy()).pipe(response);
        },
        () => refuse(response, 404, "There is no such file. `npm run build` makes what is served here."),
    );
});

/** The file that a path names. One without a dot in its name is a place in the page, which index.html shows. */
async function file(url: string): Promise<string> {
    const path = decodeURIComponent(url.split(/[?#]/, 1)[0]);
    // Beginning with a slash, normal paths do not leave where they are joined to.
    const wanted = join(DIST, normalize(`/${path}`));
    const found = extname(wanted) === "" ? join(DIST, "index.html") : wanted;
    if (!(await stat(found)).isFile()) {
        throw new Error("not a file");
    }
    return found;
}

function refuse(response: ServerResponse, status: number, message: string): void {
    response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(`${message}\n`);
}

server.listen(PORT, () => console.log(`http://localhost:${PORT}/`));
