import { connection } from "next/server";
import { failure, symbols } from "../dashboard/data.ts";
import { Client } from "./client.tsx";

export default async function Page() {
    // What /data holds is looked at when the page is asked for, not when it is built.
    await connection();
    const listed = await symbols().catch((error) => {
        failure(error);
        return undefined;
    });
    return <Client given={listed} />;
}
