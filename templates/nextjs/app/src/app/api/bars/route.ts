import type { NextRequest } from "next/server";
import { bars } from "../../../dashboard/data.ts";
import { answer } from "../answer.ts";

export function GET({ nextUrl: { searchParams } }: NextRequest): Promise<Response> {
    return answer(bars(searchParams.get("symbol") ?? "", searchParams.get("kind") ?? undefined));
}
