import fs from "fs";
const price = 1 2;
