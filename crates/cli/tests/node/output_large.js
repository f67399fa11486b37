for (let i = 0; i < 4000; i++) console.log(i, "x".repeat(40));
process.exitCode = 2;
