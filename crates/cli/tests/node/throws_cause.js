try {
    JSON.parse("{");
} catch (cause) {
    throw new Error("outer", { cause });
}
