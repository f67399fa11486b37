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
const NOTHING = "/usr/lib/ringfence/nothing.cjs";
const LEAVE = "/usr/lib/ringfence/leave.node";
const HEADER = Buffer.from("RFRUN\x01\0\0", "latin1");
const REQUEST_BYTES_MAX = 8 << 20;

// What the end and the beginning of this have to agree upon: where the program lies, and where its relative paths begin.
const run = { program: "", directory: "", here: "" };

const IMPORTS = /\bimport\b/;
const AWAITS = /\bawait\b/;
const COMMON = /\b(require|module|exports|__filename|__dirname)\b/;

// What most programs use, while nobody waits.
function warmUp() {
    for (const name of ["net", "tty", "stream", "util", "url", "vm", "events", "os", "crypto", "http", "https", "zlib",
        "child_process", "fs/promises", "timers/promises"]) {
        require(name);
    }
    const fromTemplate = Module.createRequire("/usr/local/lib/package.json");
    for (const name of (process.env.RINGFENCE_PRELOAD || "").split(",").filter(Boolean)) {
        try {
            fromTemplate(name);
        } catch {} // the program that asks for it is told
    }
    rehearse();
    sweepOut();
}

// V8 compiles a function when it is first called, which would take longer than a short program. Each is called once ahead, to no
// effect. The outputs are left alone: a program that does not print must not find them changed.
function rehearse() {
    const handle = { getAsyncId: () => 0, ref() {}, unref() {}, close() {} };
    for (const name of ["writeUtf8String", "writeLatin1String", "writeBuffer", "writev", "shutdown", "readStart", "readStop"]) {
        handle[name] = () => 0;
    }
    const nowhere = new (require("net").Socket)({ handle, readable: false, writable: true });
    const { Console } = require("console");
    const printer = new Console({ stdout: nowhere, stderr: nowhere });
    printer.log(1);
    printer.log("%s %o", "a", { b: [1.5, "c", null, new Map([[1, new Date(0)]])] });
    printer.error(new Error("d"));
    const text = Buffer.from("const a = 1;");
    parse(Buffer.concat([...[0, text, text, text, [text], [text]].flatMap(encoded)]));
    for (const expression of [IMPORTS, AWAITS, COMMON]) expression.test(text.toString());
    fs.writeFileSync("/dev/null", text, { mode: 0o644, flag: "w" });
    try {
        fs.unlinkSync(PARKED);
    } catch {} // nothing is there
    linkPackages();
    takeEnvironment(Object.entries(process.env).map(([name, value]) => `${name}=${value}`));
    process.chdir(process.cwd());
    mustEndSlowly();
    Module._load(NOTHING, null, true);
    forget();
    // What was printed has callbacks that are to come: a module would begin within them, and traces of errors show that.
    process._tickCallback();
}

// Node notes what it loaded, before the program too.
function forget() {
    for (const known of [require.cache, Module._pathCache]) {
        for (const key of Object.keys(known)) {
            if (key.startsWith("/usr/lib/ringfence/")) delete known[key];
        }
    }
    delete process.mainModule;
}

function encoded(value) {
    const number = Buffer.alloc(4);
    number.writeUInt32LE(typeof value === "number" ? value : value.length);
    if (typeof value === "number") return [number];
    return [number, ...(Array.isArray(value) ? value.flatMap(encoded) : [value])];
}

// V8 sweeps its nursery when that is nearly full. What was rehearsed has filled it, and a short program should not be the one that
// waits for 2 ms.
function sweepOut() {
    const v8 = require("v8");
    const used = () => v8.getHeapSpaceStatistics().find((space) => space.space_name === "new_space").space_used_size;
    for (let before = used(), now, rounds = 0; rounds < 1000; rounds++, before = now) {
        Array.from({ length: 64 }, () => new Array(64));
        now = used();
        if (now < before) return;
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

const readRequest = (function () {
    const head = readExactly(12);
    const length = head.readUInt32LE(8);
    if (!head.subarray(0, 8).equals(HEADER) || length > REQUEST_BYTES_MAX) process.reallyExit(125);
    return parse(readExactly(length));
});

const parse = (function (rest) {
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
});

const takeEnvironment = (function (variables) {
    const env = new Map(variables.map((variable) => {
        const at = variable.indexOf("=");
        return [variable.slice(0, at), variable.slice(at + 1)];
    }));
    for (const name of Object.keys(process.env)) {
        if (!env.has(name)) delete process.env[name];
    }
    for (const [name, value] of env) {
        if (process.env[name] !== value) process.env[name] = value;
    }
});

// A Node that waited becomes the one that was started for this program.
const become = (function (request) {
    takeEnvironment(request.env);
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
    linkPackages();
    process.argv.splice(1, process.argv.length, program, ...request.argv);
    return program;
});

// For workers and children that begin with the program's own file.
const linkPackages = (function () {
    const link = path.join(RUN_DIR, "node_modules");
    try {
        if (!fs.lstatSync(link, { throwIfNoEntry: false })) fs.symlinkSync("/home/user/node_modules", link);
    } catch {}
});

// The program takes the place of the one that was named, and has begun when it came.
function standIn() {
    // Node asks twice where its main module is: first which kind it is, then to load it.
    const find = Module._findPath;
    Module._findPath = function (wanted, paths, isMain) {
        if (isMain && wanted === PARKED) return run.program;
        return find.apply(this, arguments);
    };
    const uptime = process.uptime;
    let waited = 0;
    process.uptime = function () {
        return uptime() - waited;
    };
    return () => {
        waited = uptime();
    };
}

// Relative paths and packages are looked for from the working directory, as they would be if the program lay there.
function resolveFromHere() {
    const lookup = Module._resolveLookupPaths;
    Module._resolveLookupPaths = function (request, parent) {
        if (parent && parent.filename === run.program && /^\.\.?(\/|$)/.test(request)) return [run.here];
        return lookup.apply(this, arguments);
    };
    const modules = Module._nodeModulePaths;
    Module._nodeModulePaths = function (from) {
        return modules.call(this, from === run.directory ? run.here : from);
    };
}

function importFromHere() {
    const { pathToFileURL } = require("url");
    const url = pathToFileURL(run.program).href;
    const parentURL = pathToFileURL(path.join(run.here, path.basename(run.program))).href;
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

// Node takes 4 ms to end, and more to give its memory back. Whoever reads its outputs learns that the program is over once all that
// it asked to run at its end has run, and those are closed.
function endSoon(leave) {
    process.once("exit", () => {
        try {
            fs.unlinkSync(run.program);
        } catch {}
        const end = process.reallyExit;
        process.reallyExit = function (code) {
            for (const fd of [1, 2]) {
                try {
                    fs.closeSync(fd);
                } catch {}
            }
            if (leave && !mustEndSlowly()) leave(code);
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

// What runs in Node's own end: addons' handlers, and files that these modules write then.
function mustEndSlowly() {
    return process.moduleLoadList.some((name) => name === "NativeModule trace_events" || name === "NativeModule inspector")
        || Object.keys(require.cache).some((name) => name.endsWith(".node"));
}

function loadLeave() {
    const addon = { exports: {} };
    process.dlopen(addon, LEAVE);
    return addon.exports;
}

// Node refuses a program with both `require` and an `await` outside of functions; agents write such. It is run as the body of an
// asynchronous function, as CommonJS otherwise.
function allowAwait() {
    const compile = Module.prototype._compile;
    Module.prototype._compile = function (content, filename) {
        if (filename !== run.program) return compile.apply(this, arguments);
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

const begin = (function (program, code) {
    run.program = program;
    run.directory = path.dirname(program);
    run.here = process.cwd();
    if (IMPORTS.test(code)) importFromHere();
    if (isMainThread && AWAITS.test(code) && COMMON.test(code)) allowAwait();
});

function main() {
    // Workers inherit the option by which this is loaded; children that are forked must not.
    process.execArgv.length = 0;
    forget();
    const program = process.argv[1];
    if (program === PARKED && isMainThread) {
        resolveFromHere();
        endSoon(loadLeave());
        const started = standIn();
        warmUp();
        const request = readRequest();
        const placed = become(request);
        started();
        begin(placed, request.code.toString());
    } else if (program && path.dirname(program) === RUN_DIR) {
        let code;
        try {
            code = fs.readFileSync(program, "utf8");
        } catch {
            return; // Node says what is wrong with it
        }
        resolveFromHere();
        begin(program, code);
        if (isMainThread) endSoon();
    }
}

main();
