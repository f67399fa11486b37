try {
    await import("no-such-package-anywhere");
} catch (error) {
    console.log(error.code, error.message.split(" imported")[0]);
}
