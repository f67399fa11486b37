"use client";

// Where the server's part ends: what is imported here runs in the browser too.
export { Dashboard as Client } from "../dashboard/Dashboard.tsx";
