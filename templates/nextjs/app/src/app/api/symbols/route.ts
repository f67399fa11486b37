import { connection } from "next/server";
import { symbols } from "../../../dashboard/data.ts";
import { answer } from "../answer.ts";

export async function GET(): Promise<Response> {
    // What /data holds is looked at when it is asked for, not when this is built.
    await connection();
    return answer(symbols());
}
