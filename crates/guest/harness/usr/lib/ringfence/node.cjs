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
            return next(specifier, context.parentURL === url ? { ...context, parentURL } : context);
        },
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
        try {
            vm.compileFunction(content, names, { filename });
        } catch {
            try {
                body = new vm.Script(`${prefix}${content.replace(/^#!.*/, "")}\n})`, {
                    filename,
                    columnOffset: -prefix.length,
                    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
                });
            } catch {} // it is a module, or wrong in itself: Node says which
        }
        if (!body) return compile.apply(this, arguments);
        body.runInThisContext().call(this.exports, this.exports, Module.createRequire(filename), this, filename, path.dirname(filename));
    };
}

function main() {
    // Workers inherit the option by which this is loaded; children that are forked must not.
    process.execArgv.length = 0;
    let program = process.argv[1];
    let code;
    if (program === PARKED && isMainThread) {
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
    process.once("exit", () => {
        try {
            fs.unlinkSync(program);
        } catch {}
    });
}

main();
