console.log(typeof fetch, typeof WebSocket, typeof structuredClone);
undefinedFunction();
