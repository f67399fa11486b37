//! Places for the programs of all tasks: where many wait, the more urgent go first, and among equals the older.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use ringfence_model::api::Priority;
use tokio::sync::oneshot;

/// Programs of tasks that run at once, of all tasks together.
pub(crate) const PLACES: usize = 32;

/// The places.
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<Mutex<Queue>>);

#[derive(Debug)]
struct Queue {
    free: usize,
    next: u64,
    waiting: BTreeMap<(Reverse<Priority>, u64), oneshot::Sender<Place>>,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Option<Arc<Mutex<Queue>>>);

impl Places {
    pub(crate) fn new(free: usize) -> Self {
        Self(Arc::new(Mutex::new(Queue { free, next: 0, waiting: BTreeMap::new() })))
    }

    /// Waits for a place. Whoever stops waiting loses its turn, and nobody else's.
    pub(crate) async fn take(&self, priority: Priority) -> Place {
        let turn = {
            let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.free > 0 {
                queue.free -= 1;
                return Place(Some(Arc::clone(&self.0)));
            }
            let (sender, turn) = oneshot::channel();
            let number = queue.next;
            queue.next += 1;
            queue.waiting.insert((Reverse(priority), number), sender);
            turn
        };
        turn.await.expect("a sender leaves the queue only by sending")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(queue) = self.0.take() else { return };
        loop {
            let next = {
                let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                match queue.waiting.pop_first() {
                    Some((_, next)) => next,
                    None => {
                        queue.free += 1;
                        return;
                    }
                }
            };
            match next.send(Self(Some(Arc::clone(&queue)))) {
                Ok(()) => return,
                // It waits no more: the next one gets it, without this place being given back twice.
                Err(mut refused) => drop(refused.0.take()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_more_urgent_go_first_and_nobody_who_left_keeps_a_place() {
        let places = Places::new(1);
        let first = places.take(Priority::Low).await;
        let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
        let mut waiting = Vec::new();
        for (name, priority) in [("low", Priority::Low), ("gone", Priority::Critical), ("high", Priority::High)] {
            let (own, done) = (places.clone(), done.clone());
            waiting.push(tokio::spawn(async move {
                let place = own.take(priority).await;
                done.send(name).expect("somebody listens");
                drop(place);
            }));
            // Each is in the queue before the next comes.
            while places.0.lock().expect("sound").waiting.len() < waiting.len() {
                tokio::task::yield_now().await;
            }
        }
        waiting[1].abort();
        assert!((&mut waiting[1]).await.is_err());
        drop(first);
        assert_eq!((order.recv().await, order.recv().await), (Some("high"), Some("low")));
        for task in [waiting.remove(0), waiting.remove(1)] {
            task.await.expect("it ends");
        }
        assert_eq!(places.0.lock().expect("sound").free, 1);
    }
}
