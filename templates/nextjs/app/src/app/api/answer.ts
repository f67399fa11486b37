import { failure } from "../../dashboard/data.ts";

/** What a route answers: what `found` comes to, or why it does not. */
export async function answer(found: Promise<unknown>): Promise<Response> {
    try {
        return Response.json(await found, { headers: { "cache-control": "no-store" } });
    } catch (error) {
        const { status, message } = failure(error);
        return Response.json({ error: message }, { status });
    }
}
