"use strict";
try { undeclared = 1; } catch (error) { console.log(error.message); }
