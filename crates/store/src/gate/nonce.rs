//! Nonces of keys, over all sandboxes and over restarts.

use rusqlite::params;

use super::GateTx;
use crate::error::{Result, StoreError, doing};

/// Which key of an exchange, as a hash of both: two secrets of one key share its nonces, as the exchange does.
pub type NonceKey = [u8; 32];

impl GateTx<'_> {
    /// The next nonce of a key: `time`, or one more than the last where that is not higher. It is used up with the change that
    /// it is a part of, so that one which was sent is never given again, whatever a clock or a crash does.
    ///
    /// # Errors
    /// [`StoreError::Refused`] once there is no higher number; or the database refuses.
    pub fn next_nonce(&self, key: &NonceKey, time: u64) -> Result<u64> {
        let used_up = || StoreError::Refused("the nonces of this key are used up".into());
        // SQLite's numbers have 63 bits.
        let time = i64::try_from(time).map_err(|_| used_up())?;
        let next: i64 = self
            .conn
            .prepare_cached(
                "INSERT INTO nonce (key, last) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET \
                 last = CASE WHEN last < ?2 THEN ?2 WHEN last < 9223372036854775807 THEN last + 1 ELSE -1 END \
                 RETURNING last",
            )
            .and_then(|mut statement| statement.query_row(params![key.as_slice(), time], |row| row.get(0)))
            .map_err(doing("draw a nonce"))?;
        // Below zero there is none: the error undoes it.
        u64::try_from(next).map_err(|_| used_up())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::GateStore;
    use crate::seal::SealingKey;

    async fn draw(store: &GateStore, key: u8, time: u64) -> Result<u64> {
        store.write(move |tx| tx.next_nonce(&[key; 32], time)).await
    }

    #[tokio::test]
    async fn they_grow_whatever_the_clock_does_and_over_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = || {
            let key = SealingKey::load_or_create(&dir.path().join("gate.key")).expect("a key");
            GateStore::open(&dir.path().join("gate.db"), key).expect("a database")
        };
        let store = open();
        let mut given = Vec::new();
        for time in [5_000, 5_000, 4_000, 9_000] {
            given.push(draw(&store, 1, time).await.expect("a nonce"));
        }
        assert_eq!(given, [5_000, 5_001, 5_002, 9_000]);
        assert_eq!(draw(&store, 2, 1).await.expect("of another key"), 1);
        drop(store);
        let store = open();
        assert_eq!(draw(&store, 1, 3).await.expect("a nonce"), 9_001);
        let last = i64::MAX.unsigned_abs();
        assert_eq!(draw(&store, 1, last).await.expect("the last"), last);
        for time in [1, last, u64::MAX] {
            assert!(matches!(draw(&store, 1, time).await, Err(StoreError::Refused(_))), "they do not begin again");
        }
        assert_eq!(draw(&store, 2, 2).await.expect("a nonce"), 2);
    }

    #[tokio::test]
    async fn no_two_requests_get_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = SealingKey::load_or_create(&dir.path().join("gate.key")).expect("a key");
        let store = GateStore::open(&dir.path().join("gate.db"), key).expect("a database");
        let drawn: Vec<_> = (0..200).map(|_| store.write(|tx| tx.next_nonce(&[7; 32], 10))).collect();
        let mut given = Vec::new();
        for nonce in drawn {
            given.push(nonce.await.expect("a nonce"));
        }
        given.sort_unstable();
        assert_eq!(given, (10..210).collect::<Vec<_>>());
    }
}
