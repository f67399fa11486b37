//! Sweeps of backtests.

use ringfence_model::api::{SweepRequest, SweepStatusRequest};

use super::{AGENT, Effect, Entry, entry};

pub(super) fn table() -> Vec<Entry> {
    vec![
        entry(
            "backtest_sweep",
            "Run backtests",
            Effect::Adds,
            "Backtests strategies over symbols and parameters, each run in a sandbox of its own, and ranks them by honest figures: fills \
             at the next bar's open, costs, and buying and holding beside each. `strategy` is a built-in (sma_cross, momentum, \
             mean_reversion, pairs_trading, breakout, rsi, buy_and_hold), or `code` defines signals(bars, **parameters) in Python. \
             `parameters` {\"fast\": [10, 20]} tries every combination, `combinations` [{\"fast\": 10, \"slow\": 20}] exactly these. \
             Symbols of the sample: AAPL, FB, GOOG, IBM, MSFT, daily, 2000 to 2013. `summary` says what was not beaten, `by_symbol` who \
             beats buying and holding, `overfitting` how likely the best is luck: tell that along with it. Waits 50 s at most; a longer \
             sweep goes on and is read with backtest_status.",
            |services, request: SweepRequest, progress| {
                Box::pin(async move { services.research.sweep(AGENT, request, progress).await })
            },
        ),
        entry(
            "backtest_status",
            "Read a sweep of backtests",
            Effect::Reads,
            "Answers how far a sweep is, its ranking so far, and once it has ended how likely the best is luck. With `wait` it waits for \
             the end, with `chart` the equity of the best comes as an image.",
            |services, request: SweepStatusRequest, progress| {
                Box::pin(async move { services.research.sweep_status(AGENT, request, progress).await })
            },
        ),
    ]
}
