import react from "@vitejs/plugin-react";
import { defineConfig, type Connect, type Plugin } from "vite";
import { api } from "./api.ts";

const answer: Connect.NextHandleFunction = (request, response, next) => {
    if (!api(request, response)) {
        next();
    }
};

/** The bars of /data, for the page that vite serves. */
const data: Plugin = {
    name: "data",
    configureServer: (server) => void server.middlewares.use(answer),
    configurePreviewServer: (server) => void server.middlewares.use(answer),
};

export default defineConfig({
    plugins: [react(), data],
    // Known before the first page asks for them, which need not be loaded twice then.
    optimizeDeps: { include: ["react", "react-dom/client", "recharts", "lightweight-charts"] },
    build: { chunkSizeWarningLimit: 1024 },
});
