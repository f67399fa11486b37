//! Zygotes as the jailer keeps them.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::{Jailer, Role, Timer, Token, kernel, unknown};
use crate::{
    check,
    proto::{Done, Notice, Refusal, ZygoteNo, ZygotePlan},
    sys, wire, zygote,
};

/// Importing takes a second or two; on a loaded machine many.
const WARM_UP_PATIENCE: Duration = Duration::from_secs(120);

/// How much of what a zygote printed is kept for the reason of its death, in bytes.
const LAST_WORDS: usize = 2048;

#[derive(Debug)]
pub(super) struct Zygote {
    pub(super) pid: i32,
    pub(super) group: String,
    pub(super) control: OwnedFd,
    output: OwnedFd,
    _stdin: OwnedFd,
    generation: u32,
    layers: Vec<ringfence_model::LayerDigest>,
    pub(super) warmth: Warmth,
    /// The join it is busy with.
    pub(super) making: Option<u64>,
    /// The joins that it has still to answer, in the order in which it was asked. One that was given up meanwhile (its
    /// sandbox was deleted) is answered all the same, and that answer must not be taken for the next one's.
    pub(super) unanswered: VecDeque<u64>,
    last_words: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Warmth {
    Warming { request: u64 },
    Ready,
}

/// What a zygote says when it has imported its list. Its own words: believed only for the display.
#[derive(Debug, Deserialize)]
struct Ready {
    #[serde(default)]
    ready: bool,
    #[serde(default)]
    threads: u32,
    #[serde(default)]
    ready_ms: u32,
    #[serde(default)]
    rss_kib: u64,
    #[serde(default)]
    error: String,
}

impl Zygote {
    pub(super) fn layers(&self) -> &[ringfence_model::LayerDigest] {
        &self.layers
    }
}

impl Jailer {
    pub(super) fn start_zygote(&mut self, request: u64, plan: ZygotePlan) -> Result<(), Refusal> {
        check::zygote(&plan)?;
        for layer in &plan.layers {
            if !self.host.layers().join(layer.as_str()).join("rootfs").is_dir() {
                return Err(unknown(format!("layer {layer}")));
            }
        }
        self.kill_zygote(plan.zygote);
        self.generation += 1;
        let generation = self.generation;
        let group = zygote::group(plan.zygote, generation);
        let started = zygote::start(&self.host, &plan, &group).map_err(|e| kernel(&e))?;
        self.roles.insert(started.pid, Role::Zygote(plan.zygote, generation));
        let watched = self
            .watch(started.control.as_fd(), Token::ZygoteControl(plan.zygote, generation))
            .and_then(|()| self.watch(started.output.as_fd(), Token::ZygoteOutput(plan.zygote, generation)));
        let zygote = Zygote {
            pid: started.pid,
            group,
            control: started.control,
            output: started.output,
            _stdin: started.stdin,
            generation,
            layers: plan.layers,
            warmth: Warmth::Warming { request },
            making: None,
            unanswered: VecDeque::new(),
            last_words: Vec::new(),
        };
        self.zygotes.insert(plan.zygote, zygote);
        self.at(Instant::now() + WARM_UP_PATIENCE, Timer::ZygoteTooLong(plan.zygote, generation));
        watched.map_err(|e| Refusal::Failed(format!("watching the zygote: {e}")))
    }

    fn current(&mut self, number: ZygoteNo, generation: u32) -> Option<&mut Zygote> {
        self.zygotes.get_mut(&number).filter(|z| z.generation == generation)
    }

    pub(super) fn on_zygote_word(&mut self, number: ZygoteNo, generation: u32) {
        let Some(zygote) = self.current(number, generation) else { return };
        let mut buffer = [0_u8; 4096];
        let received = match wire::receive(zygote.control.as_fd(), &mut buffer) {
            Ok(None) => return,
            Ok(Some(received)) if received.len > 0 => received,
            // Its death is reaped soon; without its socket it is of no use meanwhile.
            _ => return self.kill_zygote_for(number, "it closed its socket"),
        };
        let word = &buffer[..received.len];
        match (zygote.warmth, word) {
            (Warmth::Ready, [b'j', result @ ..]) => {
                let result = result.try_into().map_or(-1, i32::from_le_bytes);
                let answered = zygote.unanswered.pop_front();
                if let (true, Some(join)) = (result < 0, answered) {
                    let why = std::io::Error::from_raw_os_error(result.saturating_neg());
                    self.fail_join(join, &format!("the zygote could not fork into the sandbox: {why}"));
                }
            }
            (Warmth::Warming { request }, word) => match serde_json::from_slice::<Ready>(word) {
                Ok(Ready { ready: true, threads: 1, ready_ms, rss_kib, .. }) => {
                    zygote.warmth = Warmth::Ready;
                    let pid = u32::try_from(zygote.pid).unwrap_or(0);
                    self.reply(request, Ok(Done::ZygoteStarted { pid, ready_ms, rss_kib }), Vec::new());
                    self.next_join(number);
                }
                Ok(Ready { ready: true, threads, .. }) => {
                    self.kill_zygote_for(
                        number,
                        &format!("it has {threads} threads after importing; it must have one"),
                    );
                }
                Ok(Ready { error, .. }) => self.kill_zygote_for(number, &error),
                Err(_) => self.kill_zygote_for(number, "it said something unexpected"),
            },
            _ => self.kill_zygote_for(number, "it said something unexpected"),
        }
    }

    pub(super) fn on_zygote_output(&mut self, number: ZygoteNo, generation: u32) {
        let Some(zygote) = self.zygotes.get_mut(&number).filter(|z| z.generation == generation) else { return };
        let mut buffer = [0_u8; 4096];
        match rustix::io::read(&zygote.output, &mut buffer) {
            // A dead one's output is asked for in any case, and whom it has left holds the other end.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Ok(0) | Err(_) => {
                let _ = rustix::event::epoll::delete(&self.epoll, &zygote.output);
                self.unwatch(|token| *token == Token::ZygoteOutput(number, generation));
            }
            Ok(len) => {
                zygote.last_words.extend_from_slice(&buffer[..len]);
                let excess = zygote.last_words.len().saturating_sub(LAST_WORDS);
                zygote.last_words.drain(..excess);
            }
        }
    }

    pub(super) fn on_zygote_too_long(&mut self, number: ZygoteNo, generation: u32) {
        let Some(zygote) = self.current(number, generation) else { return };
        if zygote.warmth != Warmth::Ready {
            self.kill_zygote_for(number, "it did not finish importing in time");
        }
    }

    pub(super) fn on_zygote_death(&mut self, number: ZygoteNo, generation: u32, ended: sys::Ended) {
        if self.current(number, generation).is_none() {
            return;
        }
        self.on_zygote_output(number, generation);
        let how = match (ended.code, ended.signal) {
            (Some(code), _) => format!("it exited with {code}"),
            (None, Some(signal)) => format!("it was killed by signal {signal}"),
            (None, None) => "it ended".to_owned(),
        };
        self.kill_zygote_for(number, &how);
    }

    pub(super) fn stop_zygote(&mut self, number: ZygoteNo) -> Result<(), Refusal> {
        if !self.zygotes.contains_key(&number) {
            return Err(unknown(format!("zygote {}", number.0)));
        }
        self.kill_zygote(number);
        Ok(())
    }

    /// Ends a zygote and says why to whoever waits for it.
    pub(super) fn kill_zygote_for(&mut self, number: ZygoteNo, why: &str) {
        let Some(zygote) = self.zygotes.get(&number) else { return };
        let words = String::from_utf8_lossy(&zygote.last_words).trim().to_owned();
        let reason = if words.is_empty() { why.to_owned() } else { format!("{why}; it had printed: {words}") };
        let warmth = zygote.warmth;
        self.kill_zygote(number);
        if let Warmth::Warming { request } = warmth {
            self.reply(request, Err(Refusal::Failed(format!("the zygote: {reason}"))), Vec::new());
        } else {
            self.notify(Notice::ZygoteDied { zygote: number, reason });
        }
    }

    pub(super) fn kill_zygote(&mut self, number: ZygoteNo) {
        let Some(zygote) = self.zygotes.remove(&number) else { return };
        let generation = zygote.generation;
        // Not by closing: builders that are at work have copies.
        for fd in [&zygote.control, &zygote.output] {
            let _ = rustix::event::epoll::delete(&self.epoll, fd);
        }
        self.unwatch(|token| {
            matches!(token, Token::ZygoteControl(n, g) | Token::ZygoteOutput(n, g) if *n == number && *g == generation)
        });
        if self.roles.contains_key(&zygote.pid) {
            let _ = sys::kill_child(zygote.pid, sys::SIGKILL);
        }
        let _ = self.host.cgroups.kill(&zygote.group);
        self.remove_group_soon(zygote.group);
        let mut failed: Vec<u64> = self.waiting_joins.remove(&number).unwrap_or_default().into();
        failed.extend(zygote.making);
        for join in failed {
            self.fail_join(join, "its zygote ended");
        }
    }
}
