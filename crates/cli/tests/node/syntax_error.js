console.log("never");
const price = ;
