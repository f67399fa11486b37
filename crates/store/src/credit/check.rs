//! What is wrong with the ledger or the meters.

use crate::error::{Result, doing};
use crate::tx::View;

impl View<'_> {
    /// What does not add up, a sentence each; nothing when all does.
    ///
    /// # Errors
    /// The database refuses.
    pub fn check_credits(&self) -> Result<Vec<String>> {
        const WHAT: &str = "check the ledger";
        let sql = "SELECT 'transaction ' || transaction_id || ' does not sum to zero' FROM credit_posting \
                   GROUP BY transaction_id HAVING sum(amount_mc) <> 0 \
             UNION ALL SELECT 'the balance of ' || p.name || ' is not that of its postings' FROM credit_project p \
                   WHERE p.balance_mc <> (SELECT coalesce(sum(amount_mc), 0) FROM credit_posting \
                     JOIN credit_transaction t ON t.id = transaction_id WHERE account = 'balance' AND t.project = p.name) \
             UNION ALL SELECT 'the project ' || t.project || ' has postings to a balance that is not there' \
                   FROM credit_posting JOIN credit_transaction t ON t.id = transaction_id WHERE account = 'balance' \
                   AND NOT EXISTS (SELECT 1 FROM credit_project WHERE name = t.project) \
                   GROUP BY t.project HAVING sum(amount_mc) <> 0 \
             UNION ALL SELECT 'the meter of ' || m.sandbox_id || ' is open, and nothing runs' FROM meter m \
                   LEFT JOIN sandbox s ON s.id = m.sandbox_id WHERE m.closed_at_ms IS NULL \
                     AND (s.status IS NULL OR s.status NOT IN ('running', 'paused')) \
             UNION ALL SELECT id || ' runs without a meter' FROM sandbox WHERE is_trial = 0 \
                   AND status IN ('running', 'paused') \
                   AND NOT EXISTS (SELECT 1 FROM meter WHERE sandbox_id = id AND closed_at_ms IS NULL) \
             UNION ALL SELECT 'the meter ' || number || ' of ' || sandbox_id || ' was not billed for its minutes' FROM meter \
                   WHERE billed_minutes <> max(1, (coalesce(closed_at_ms, seen_at_ms) - opened_at_ms + 59999) / 60000)";
        let mut statement = self.conn.prepare_cached(sql).map_err(doing(WHAT))?;
        let rows = statement.query_map([], |row| row.get(0)).map_err(doing(WHAT))?;
        rows.map(|row| row.map_err(doing(WHAT))).collect()
    }
}
