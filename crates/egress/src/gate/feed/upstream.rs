//! The life of one connection upstream: dialled, kept, made anew with pauses when it is gone, closed when nobody needs it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use hyper::http::{HeaderMap, StatusCode};
use tokio::pin;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, interval_at, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::wire::{DialError, Socket};
use super::words::Refusal;
use super::{Ask, Command, Guest, Rest, Target};
use crate::gate::Gate;

/// The pause after the first failure; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A connection that was ready for so long has been well.
const STEADY: Duration = Duration::from_secs(10);
/// Longest time for a venue to take a message.
const SEND_TIME: Duration = Duration::from_secs(10);
/// How often a venue is asked whether it is there; one that says nothing for three times as long is gone.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Longest wait for a venue to close its side.
const GOODBYE_TIME: Duration = Duration::from_secs(1);

/// Why a connection is over.
#[derive(Debug)]
pub(super) enum Over {
    /// It may be made anew.
    Lost(String),
    /// The venue does not want it.
    Refused(Refusal),
}

/// What is said over a connection, and what of it goes to whom. It decides, and does no I/O with the venue.
pub(super) trait Talk: Send + 'static {
    /// Headers of the handshake.
    fn headers(&self) -> HeaderMap;
    fn join(&mut self, guest: Guest);
    fn ask(&mut self, number: u64, ask: Ask);
    fn leave(&mut self, number: u64);
    /// Whether nobody needs it.
    fn is_empty(&self) -> bool;
    /// A connection is there.
    fn begin(&mut self);
    /// Whether whoever comes is let in.
    fn is_ready(&self) -> bool;
    /// By when the venue has to have said something.
    fn due(&self) -> Option<Instant>;
    /// What is to be said next.
    fn says(&mut self) -> Option<Message>;
    /// Something was said.
    fn heard(&mut self, gate: &Arc<Gate>, message: &Message) -> impl Future<Output = Result<(), Over>> + Send;
    /// The connection is gone.
    fn lost(&mut self);
    /// The venue does not want one.
    fn refused(&mut self, refusal: &Refusal);

    fn take(&mut self, command: Command) {
        match command {
            Command::Join(guest) => self.join(guest),
            Command::Ask { number, ask } => self.ask(number, ask),
            Command::Leave { number } => self.leave(number),
        }
    }
}

/// How often it failed, and until when it is not tried again.
#[derive(Debug, Default)]
struct Tries {
    failures: u32,
    until: Option<Instant>,
    refusal: Option<Refusal>,
}

impl Tries {
    fn after(rest: Option<Rest>) -> Self {
        rest.map_or_else(Self::default, |rest| Self {
            failures: rest.failures,
            until: Some(rest.until.into()),
            refusal: rest.refusal,
        })
    }

    fn failed(&mut self, refusal: Option<Refusal>) {
        self.until = Some(Instant::now() + pause(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.refusal = refusal;
    }

    fn rest(&self) -> Option<Rest> {
        let until = self.until.filter(|_| self.failures > 0)?;
        Some(Rest { until: until.into_std(), failures: self.failures, refusal: self.refusal.clone() })
    }
}

fn pause(failures: u32) -> Duration {
    PAUSE.saturating_mul(1 << failures.min(16)).min(PAUSE_MAX)
}

/// What came of one connection.
enum Round {
    Again,
    Empty,
    /// The gate ends.
    End,
}

/// Keeps a connection until nobody needs it.
pub(super) async fn run<T: Talk>(
    gate: Weak<Gate>,
    target: Target,
    mut talk: T,
    mut commands: UnboundedReceiver<Command>,
    rest: Option<Rest>,
) {
    let key = target.key();
    let mut tries = Tries::after(rest);
    loop {
        match round(&gate, &target, &mut talk, &mut commands, &mut tries).await {
            Round::Again => {}
            Round::Empty => match gate.upgrade() {
                Some(gate) if !gate.leave_feed(&key, &commands, tries.rest()) => {}
                _ => return,
            },
            Round::End => return,
        }
    }
}

async fn round<T: Talk>(
    gate: &Weak<Gate>,
    target: &Target,
    talk: &mut T,
    commands: &mut UnboundedReceiver<Command>,
    tries: &mut Tries,
) -> Round {
    if let Some(until) = tries.until
        && meanwhile(talk, commands, sleep_until(until)).await.is_none()
    {
        return Round::Empty;
    }
    let Some(strong) = gate.upgrade() else { return Round::End };
    // Whoever is here was let in by a mode that leads here; when it leads elsewhere they are about to be sent away.
    if strong.leads.lead(&target.host).and_then(Result::ok).as_ref() != Some(&target.lead) {
        tries.failed(None);
        return Round::Again;
    }
    let headers = talk.headers();
    let dialling = strong.dial_stream(&target.lead, &target.host, &target.path, &headers);
    let refused = |refusal: Refusal, talk: &mut T, tries: &mut Tries| {
        tracing::warn!(host = %target.host, path = target.path, code = refusal.code, text = refusal.text, "a venue refused a stream");
        talk.refused(&refusal);
        tries.failed(Some(refusal));
        if talk.is_empty() { Round::Empty } else { Round::Again }
    };
    let mut socket = match meanwhile(talk, commands, dialling).await {
        None => return Round::Empty,
        Some(Ok(socket)) => socket,
        Some(Err(DialError::Refused(status)))
            if status.is_client_error()
                && ![StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status) =>
        {
            let refusal = Refusal::internal(&format!("the venue answered {}", status.as_u16()));
            return refused(refusal, talk, tries);
        }
        Some(Err(error)) => {
            tracing::warn!(host = %target.host, path = target.path, %error, "a stream of a venue could not be opened");
            tries.failed(None);
            return Round::Again;
        }
    };
    drop(strong);
    let mut ready = None;
    let ended = serve(gate, talk, commands, &mut socket, &mut ready).await;
    if ready.is_some_and(|ready: Instant| ready.elapsed() > STEADY) || ended.is_none() && ready.is_some() {
        *tries = Tries::default();
    }
    talk.lost();
    let goodbye = async {
        socket.close(None).await.ok()?;
        while let Some(Ok(_)) = socket.next().await {}
        Some(())
    };
    let _ = timeout(GOODBYE_TIME, goodbye).await;
    match ended {
        None if gate.strong_count() == 0 => Round::End,
        None => Round::Empty,
        Some(Over::Lost(why)) => {
            tracing::info!(host = %target.host, path = target.path, why, "a stream of a venue is gone, and is made anew");
            tries.failed(None);
            Round::Again
        }
        Some(Over::Refused(refusal)) => refused(refusal, talk, tries),
    }
}

/// Waits for something, and takes what sandboxes say meanwhile; none when nobody is left.
async fn meanwhile<T: Talk, F: Future>(
    talk: &mut T,
    commands: &mut UnboundedReceiver<Command>,
    doing: F,
) -> Option<F::Output> {
    pin!(doing);
    loop {
        tokio::select! {
            biased;
            command = commands.recv() => {
                talk.take(command?);
                if talk.is_empty() {
                    return None;
                }
            }
            done = &mut doing => return Some(done),
        }
    }
}

/// Moves messages until the connection is over; none when nobody needs it.
async fn serve<T: Talk>(
    gate: &Weak<Gate>,
    talk: &mut T,
    commands: &mut UnboundedReceiver<Command>,
    socket: &mut Socket,
    ready: &mut Option<Instant>,
) -> Option<Over> {
    let lost = |why: &str| Some(Over::Lost(why.to_owned()));
    talk.begin();
    let mut heard_at = Instant::now();
    let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    loop {
        while let Some(message) = talk.says() {
            match timeout(SEND_TIME, socket.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return lost(&error.to_string()),
                Err(_) => return lost("it does not take what is said"),
            }
        }
        if talk.is_empty() {
            return None;
        }
        if ready.is_none() && talk.is_ready() {
            *ready = Some(Instant::now());
        }
        let due = talk.due();
        tokio::select! {
            command = commands.recv() => talk.take(command?),
            message = socket.next() => {
                heard_at = Instant::now();
                match message {
                    Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                        let gate = gate.upgrade()?;
                        if let Err(over) = talk.heard(&gate, &message).await {
                            return Some(over);
                        }
                    }
                    // Pongs go out by themselves.
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                    Some(Ok(Message::Close(_))) | None => return lost("the venue has closed it"),
                    Some(Err(error)) => return lost(&error.to_string()),
                }
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                return lost("the venue did not answer in time");
            }
            _ = ping.tick() => {
                if heard_at.elapsed() > PING_EVERY * 3 {
                    return lost("the venue is silent");
                }
                if !matches!(timeout(SEND_TIME, socket.send(Message::Ping(bytes::Bytes::new()))).await, Ok(Ok(()))) {
                    return lost("it does not take what is said");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute() {
        assert_eq!([0, 1, 2].map(pause), [250, 500, 1000].map(Duration::from_millis));
        assert_eq!([7, 60, u32::MAX].map(pause), [PAUSE_MAX; 3]);
    }
}
