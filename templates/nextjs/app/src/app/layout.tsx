import type { Metadata } from "next";
import type { ReactNode } from "react";

export const metadata: Metadata = { title: "Trading dashboard" };

export default function Layout({ children }: { children: ReactNode }) {
    // The theme that a user chose is set before React looks at the attributes.
    return (
        <html lang="en" suppressHydrationWarning>
            <body>{children}</body>
        </html>
    );
}
