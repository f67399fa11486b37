//! The gateway as the jailer sees it: introduced by the supervisor, told of shells, dropped when it fails.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use super::{Jailer, Timer, Token};
use crate::{
    gateway::{self, Dropped, Gateway, ToGateway},
    proto::ShellId,
    say::say,
};

/// Between two tries to tell a slow gateway what is kept for it.
const TELL_POLL: Duration = Duration::from_millis(5);

impl Jailer {
    /// Somebody is at the supervisor's door.
    pub(super) fn on_door(&mut self) {
        let Some(door) = &self.door else { return };
        match gateway::introduced(door.as_fd()) {
            Ok(None) => {}
            Ok(Some(socket)) => {
                self.close_gate();
                self.gateways += 1;
                let gateway = Gateway::new(socket);
                match self.watch(gateway.socket(), Token::Gateway(self.gateways)) {
                    Ok(()) => self.gateway = Some(gateway),
                    Err(e) => say("jailer", &format!("watching the gateway: {e}")),
                }
            }
            Err(e) => {
                // The supervisor is gone, and with it soon everything; or it is at fault. A gateway that is there stays.
                say("jailer", &format!("the supervisor's door: {e}"));
                self.unwatch(|token| *token == Token::Door);
                self.door = None;
            }
        }
    }

    pub(super) fn on_gateway_word(&mut self, number: u32) {
        if number != self.gateways {
            return;
        }
        let Some(gateway) = &mut self.gateway else { return };
        match gateway.listen() {
            Ok(false) => {}
            Ok(true) => {
                let open = self.shells.iter().filter(|(_, shell)| shell.capture.is_some()).map(|(id, _)| *id);
                let mut told: Vec<ShellId> = open.collect();
                told.sort_unstable();
                // Open before the first is told: what comes meanwhile waits in the backlog, and is the gateway's.
                if let Err(e) = self.host.gate.set_open(true) {
                    say("jailer", &format!("opening the gate: {e}"));
                }
                for shell in told {
                    self.keep_for_gateway(ToGateway::Opened { shell });
                }
                self.send_to_gateway();
            }
            Err(why) => self.drop_gateway(&why),
        }
    }

    /// Tells the gateway of a shell, if there is one.
    pub(super) fn tell_gateway(&mut self, message: ToGateway) {
        self.keep_for_gateway(message);
        self.send_to_gateway();
    }

    fn keep_for_gateway(&mut self, message: ToGateway) {
        let Some(gateway) = &mut self.gateway else { return };
        if let Err(why) = gateway.tell(message) {
            self.drop_gateway(&why);
        }
    }

    pub(super) fn send_to_gateway(&mut self) {
        let Some(gateway) = &mut self.gateway else { return };
        let shells = &self.shells;
        match gateway.send(|id| shells.get(&id)?.capture.as_ref()) {
            Ok(true) => {}
            Ok(false) if self.is_telling => {}
            Ok(false) => {
                self.is_telling = true;
                self.at(Instant::now() + TELL_POLL, Timer::TellGateway);
            }
            Err(why) => self.drop_gateway(&why),
        }
    }

    fn drop_gateway(&mut self, why: &Dropped) {
        say("jailer", &format!("the gateway is dropped: {why}"));
        self.close_gate();
    }

    /// From here on sandboxes' connections are refused, until the next gateway has greeted.
    fn close_gate(&mut self) {
        if let Err(e) = self.host.gate.set_open(false) {
            say("jailer", &format!("closing the gate: {e}"));
        }
        if let Some(gateway) = self.gateway.take() {
            // Builders that are at work hold copies: closing ours alone would neither end the watch nor tell the peer.
            let _ = rustix::event::epoll::delete(&self.epoll, gateway.socket());
            let _ = rustix::net::shutdown(gateway.socket(), rustix::net::Shutdown::Both);
        }
        self.unwatch(|token| matches!(token, Token::Gateway(_)));
    }
}
