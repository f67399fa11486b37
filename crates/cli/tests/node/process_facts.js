console.log(process.title.endsWith("node"), process.version, process.platform, process.arch, process.cwd(), process.umask(), process.getuid(), process.uptime() < 2);
console.log(process.features.typescript, process.release.name, process.config.variables.napi_build_version, process.allowedNodeEnvironmentFlags.size > 10);
console.log(process.listenerCount("SIGTERM"), process.listenerCount("uncaughtException"), process.listenerCount("warning") <= 1, process.report.excludeNetwork);
