
import json
data = {
    "symbol": "AAPL",
    "analysis": "Testing sandbox execution",
    "price": 150.50
}
print(json.dumps(data, indent=2))
    