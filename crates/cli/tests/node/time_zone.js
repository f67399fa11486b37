console.log(process.env.TZ, new Date(0).toString(), Intl.DateTimeFormat().resolvedOptions().timeZone, (1234.5).toLocaleString());
process.env.TZ = "America/New_York";
console.log(new Date(0).toString());
