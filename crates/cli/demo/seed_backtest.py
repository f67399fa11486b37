
import pandas as pd
import numpy as np
from datetime import datetime, timedelta

# Simulate price data
dates = pd.date_range(end=datetime.now(), periods=100)
prices = 150 + np.cumsum(np.random.randn(100) * 2)

# Simple moving average strategy
sma_20 = pd.Series(prices).rolling(20).mean()
sma_50 = pd.Series(prices).rolling(50).mean()

# Generate signals
signals = []
for i in range(len(prices)):
    if i < 50:
        signals.append('HOLD')
    elif sma_20.iloc[i] > sma_50.iloc[i]:
        signals.append('BUY')
    else:
        signals.append('SELL')

# Calculate returns
returns = []
position = 0
entry_price = 0

for i, signal in enumerate(signals):
    if signal == 'BUY' and position == 0:
        position = 1
        entry_price = prices[i]
    elif signal == 'SELL' and position == 1:
        returns.append((prices[i] - entry_price) / entry_price)
        position = 0

# Results
total_return = sum(returns)
win_rate = len([r for r in returns if r > 0]) / len(returns) if returns else 0

print(f"Total Return: {total_return:.2%}")
print(f"Win Rate: {win_rate:.2%}")
print(f"Total Trades: {len(returns)}")
