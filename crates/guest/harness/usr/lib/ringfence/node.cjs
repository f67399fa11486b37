"use strict";
// What Node loads before a program: `node --require node.cjs PROGRAM`. It makes the working directory the place from which the
// program's relative paths and packages are found, for programs lie in a directory of their own; and where the program is still
// to come, it waits for it. Everything else is Node's own doing: it loads the program as its main module after this.
//
// The request is `ringfence_guest::park::Request`, on standard input.

const fs = require("fs");
const Module = require("module");
const path = require("path");
const { isMainThread } = require("worker_threads");

const RUN_DIR = "/run/ringfence";
const PARKED = "/run/ringfence/node-waits-for-its-program.js";
const HEADER = Buffer.from("RFRUN\x01\0\0", "latin1");
const REQUEST_BYTES_MAX = 8 << 20;

// What most programs use, while nobody waits. Outputs are left alone: a program that does not print must not find them changed.
function warmUp() {
    for (const name of ["net", "tty", "stream", "util", "url", "vm", "events", "os", "crypto", "http", "https", "zlib",
        "child_process", "fs/promises", "timers/promises"]) {
        require(name);
    }
    const { formatWithOptions } = require("util");
    formatWithOptions({}, "%s %o", "a", { b: [1.5, "c", null, new Map([[1, new Date(0)]])] }, new Error("d"));
    const fromTemplate = Module.createRequire("/usr/local/lib/package.json");
    for (const name of (process.env.RINGFENCE_PRELOAD || "").split(",").filter(Boolean)) {
        try {
            fromTemplate(name);
        } catch {} // the program that asks for it is told
    }
}

function readExactly(length) {
    const bytes = Buffer.allocUnsafe(length);
    for (let at = 0; at < length; ) {
        const got = fs.readSync(0, bytes, at, length - at, null);
        // Nobody will send a program any more.
        if (got === 0) process.reallyExit(0);
        at += got;
    }
    return bytes;
}

function readRequest() {
    const head = readExactly(12);
    const length = head.readUInt32LE(8);
    if (!head.subarray(0, 8).equals(HEADER) || length > REQUEST_BYTES_MAX) process.reallyExit(125);
    const rest = readExactly(length);
    let at = 4; // flags: none are meant for Node
    const bytes = () => {
        const size = rest.readUInt32LE(at);
        at += 4 + size;
        return rest.subarray(at - size, at);
    };
    const list = () => {
        const count = rest.readUInt32LE(at);
        at += 4;
        return Array.from({ length: count }, () => bytes().toString());
    };
    return { path: bytes().toString(), cwd: bytes().toString(), code: bytes(), argv: list(), env: list() };
}

// A Node that waited becomes the one that was started for this program.
function become(request) {
    const env = new Map(request.env.map((variable) => {
        const at = variable.indexOf("=");
        return [variable.slice(0, at), variable.slice(at + 1)];
    }));
    for (const name of Object.keys(process.env)) {
        if (!env.has(name)) delete process.env[name];
    }
    for (const [name, value] of env) {
        if (process.env[name] !== value) process.env[name] = value;
    }
    try {
        process.chdir(request.cwd);
    } catch (error) {
        fs.writeSync(2, `ringfence: cannot enter the working directory ${request.cwd}: ${error.code}\n`);
        process.reallyExit(126);
    }
    // Where programs are written may be full: what would make room there must be runnable all the same.
    let program;
    for (const directory of [RUN_DIR, request.cwd, "/tmp", "/dev/shm"]) {
        try {
            program = path.join(directory, path.basename(request.path));
            fs.writeFileSync(program, request.code, { mode: 0o644, flag: "wx" });
            break;
        } catch (error) {
            if (directory !== "/dev/shm") continue;
            fs.writeSync(2, `ringfence: the program cannot be written: ${error.code}\n`);
            process.reallyExit(126);
        }
    }
    // For workers and children that begin with the program's own file.
    try {
        fs.symlinkSync("/home/user/node_modules", path.join(RUN_DIR, "node_modules"));
    } catch {}
    process.argv.splice(1, process.argv.length, program, ...request.argv);
    // Node asks twice where its main module is: first which kind it is, then to load it.
    const find = Module._findPath;
    Module._findPath = function (wanted, paths, isMain) {
        if (isMain && wanted === PARKED) return program;
        return find.apply(this, arguments);
    };
    const uptime = process.uptime;
    const waited = uptime();
    process.uptime = function () {
        return uptime() - waited;
    };
    return program;
}

// Relative paths and packages are looked for from the working directory, as they would be if the program lay there.
function resolveFromHere(program, here, uses) {
    const directory = path.dirname(program);
    const lookup = Module._resolveLookupPaths;
    Module._resolveLookupPaths = function (request, parent) {
        if (parent && parent.filename === program && /^\.\.?(\/|$)/.test(request)) return [here];
        return lookup.apply(this, arguments);
    };
    const modules = Module._nodeModulePaths;
    Module._nodeModulePaths = function (from) {
        return modules.call(this, from === directory ? here : from);
    };
    if (!uses.imports) return;
    const { pathToFileURL } = require("url");
    const url = pathToFileURL(program).href;
    const parentURL = pathToFileURL(path.join(here, path.basename(program))).href;
    Module.registerHooks({
        resolve(specifier, context, next) {
            try {
                return next(specifier, context.parentURL === url ? { ...context, parentURL } : context);
            } catch (error) {
                withoutHooks(error);
                throw error;
            }
        },
    });
}

function withoutHooks(error) {
    if (typeof error?.stack !== "string") return;
    const ours = /^    at .*(\/usr\/lib\/ringfence\/node\.cjs|node:internal\/modules\/customization_hooks).*\n?/gm;
    error.stack = error.stack.replace(ours, "").trimEnd();
}

// Node takes 4 ms to end. Whoever reads its outputs learns that the program is over once all that it asked to run at its end has
// run, and those are closed.
function endSoon(program) {
    process.once("exit", () => {
        try {
            fs.unlinkSync(program);
        } catch {}
        const end = process.reallyExit;
        process.reallyExit = function (code) {
            for (const fd of [1, 2]) {
                try {
                    fs.closeSync(fd);
                } catch {}
            }
            return end.call(process, code);
        };
    });
    // Where nothing is left to do and nothing failed, the same end as by `process.exit()`.
    process.once("beforeExit", () => {
        const emit = process.emit;
        process.emit = function (event) {
            const heard = emit.apply(this, arguments);
            if (event === "exit" && arguments[1] === 0 && !process.exitCode) process.reallyExit(0);
            return heard;
        };
    });
}

// Node refuses a program with both `require` and an `await` outside of functions; agents write such. It is run as the body of an
// asynchronous function, as CommonJS otherwise.
function allowAwait(program) {
    const compile = Module.prototype._compile;
    Module.prototype._compile = function (content, filename) {
        if (filename !== program) return compile.apply(this, arguments);
        Module.prototype._compile = compile;
        const vm = require("vm");
        const names = ["exports", "require", "module", "__filename", "__dirname"];
        const prefix = `(async function (${names.join(", ")}) { `;
        let body;
        const warn = process.emitWarning;
        process.emitWarning = () => {}; // of what is experimental below
        try {
            if (filename.endsWith(".ts")) content = Module.stripTypeScriptTypes(content);
            vm.compileFunction(content, names, { filename });
        } catch {
            try {
                body = new vm.Script(`${prefix}${content.replace(/^#!.*/, "")}\n})`, {
                    filename,
                    columnOffset: -prefix.length,
                    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
                });
            } catch {
                // It is a module, or wrong in itself: Node says which.
            }
        } finally {
            process.emitWarning = warn;
        }
        if (!body) return compile.apply(this, arguments);
        body.runInThisContext().call(this.exports, this.exports, Module.createRequire(filename), this, filename, path.dirname(filename));
    };
}

function main() {
    // Workers inherit the option by which this is loaded; children that are forked must not.
    process.execArgv.length = 0;
    delete require.cache[__filename];
    let program = process.argv[1];
    let code;
    if (program === PARKED && isMainThread) {
        warmUp();
        const request = readRequest();
        code = request.code.toString();
        program = become(request);
    } else if (program && path.dirname(program) === RUN_DIR) {
        try {
            code = fs.readFileSync(program, "utf8");
        } catch {
            return; // Node says what is wrong with it
        }
    } else {
        return;
    }
    resolveFromHere(program, process.cwd(), { imports: /\bimport\b/.test(code) });
    if (!isMainThread) return;
    if (/\bawait\b/.test(code) && /\b(require|module|exports|__filename|__dirname)\b/.test(code)) allowAwait(program);
    endSoon(program);
}

main();
