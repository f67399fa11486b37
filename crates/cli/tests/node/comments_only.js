// Fetch and process market data
