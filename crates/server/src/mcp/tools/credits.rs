//! Credits.

use ringfence_model::api::{BalanceRequest, UsageRequest};

use super::{AGENT, Effect, Entry, entry};

pub(super) fn table() -> Vec<Entry> {
    vec![
        entry(
            "check_balance",
            "Read the balance",
            Effect::Reads,
            "Answers how many credits are left (`balance`, null when `unlimited`), what a sandbox costs (`prices`: 2 for making one and \
             1 for each started minute of running, unless the operator says otherwise), and for how many minutes the balance lasts. Read \
             it before making many sandboxes. At 0 sandboxes are stopped after a grace, with their files kept; sandbox_stop ends a \
             meter at once. Only the operator gives more.",
            |services, request: BalanceRequest, _| {
                Box::pin(async move { services.check_balance(AGENT, request).await })
            },
        ),
        entry(
            "usage",
            "Read what was used",
            Effect::Reads,
            "Answers credits, running time, executions, CPU seconds, GB-seconds of memory, requests and bytes, each from the host's own \
             figures: by sandbox (the dearest first), by project or by day.",
            |services, request: UsageRequest, _| Box::pin(async move { services.usage(AGENT, request).await }),
        ),
    ]
}
