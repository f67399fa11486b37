import type { NextConfig } from "next";

const config: NextConfig = {
    poweredByHeader: false,
    // It would ask the network for news of Next.js at each start, and tell coding agents what to do about them.
    experimental: { agentUpgrade: false },
};

export default config;
