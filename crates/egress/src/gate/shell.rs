//! The sockets of a shell, and everything that came in by them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::limits::lock;
use super::room::Room;
use super::{Gate, connection, descriptors};
use crate::dns::message::{self, Transport};
use crate::dns::serve;
use crate::dns::throttle::Throttle;

/// Wait after an error of the listener, as when there is no descriptor left.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// One shell.
pub(super) struct Shell {
    number: u32,
    /// The sandbox that lives in it.
    room: Mutex<Option<Arc<Room>>>,
    pub(super) throttle: Arc<Throttle>,
    connections: Mutex<JoinSet<()>>,
    loops: Mutex<Vec<AbortHandle>>,
}

impl Shell {
    pub(super) fn room(&self) -> Option<Arc<Room>> {
        lock(&self.room).clone()
    }

    /// A sandbox lives here from now on, or none. Connections of the one before are closed.
    pub(super) fn attach(&self, room: Option<Arc<Room>>) {
        let mut place = lock(&self.room);
        lock(&self.connections).abort_all();
        *place = room;
    }

    /// Ends everything. The sockets close with the tasks that hold them.
    pub(super) fn end(&self) {
        self.attach(None);
        for task in lock(&self.loops).drain(..) {
            task.abort();
        }
    }
}

impl Gate {
    /// Begins to take what comes in by the sockets of a shell.
    pub(super) fn open<O>(self: &Arc<Self>, number: u32, listener: TcpListener, dns: Option<OwnedFd>, original: O)
    where
        O: Fn(&TcpStream) -> io::Result<SocketAddr> + Send + 'static,
    {
        let shell = Arc::new(Shell {
            number,
            room: Mutex::default(),
            throttle: Arc::default(),
            connections: Mutex::default(),
            loops: Mutex::default(),
        });
        {
            let mut shells = lock(&self.shells);
            if let Some(sandbox) = lock(&self.awaited).remove(&number) {
                shell.attach(Some(self.room(&sandbox)));
            }
            if let Some(before) = shells.insert(number, shell.clone()) {
                before.end();
            }
        }
        let accepting = tokio::spawn(accept(self.clone(), shell.clone(), listener, original));
        lock(&shell.loops).push(accepting.abort_handle());
        if let Some(dns) = dns {
            let asked = tokio::spawn(answer(self.clone(), shell.clone(), dns));
            lock(&shell.loops).push(asked.abort_handle());
        }
    }
}

async fn accept<O>(gate: Arc<Gate>, shell: Arc<Shell>, listener: TcpListener, original: O)
where
    O: Fn(&TcpStream) -> io::Result<SocketAddr>,
{
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(shell = shell.number, %error, "a connection could not be taken");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let to = original(&stream);
        // Held until the connection is in its set: no connection of the sandbox before slips in after it was closed.
        let place = lock(&shell.room);
        let (Some(room), Ok(to)) = (place.clone(), to) else {
            reset(&stream);
            continue;
        };
        let mut connections = lock(&shell.connections);
        while connections.try_join_next().is_some() {}
        let is_scarce = descriptors::are_scarce(&stream);
        let turn = (!is_scarce && lock(&room.bucket).take(Instant::now()))
            .then(|| room.places.clone().try_acquire_owned().ok())
            .flatten();
        match turn {
            Some(turn) => {
                let (gate, shell) = (gate.clone(), shell.clone());
                connections.spawn(async move {
                    let _turn = turn;
                    connection::run(&gate, &shell, &room, stream, to).await;
                });
            }
            None => {
                let gate = gate.clone();
                // A descriptor that is missing elsewhere is given back before the disk is waited for.
                let stream = if is_scarce {
                    reset(&stream);
                    None
                } else {
                    Some(stream)
                };
                // Short, and bounded by the disk: after a hundred of them they are only counted.
                connections.spawn(async move { connection::too_many(&gate, &room, stream, to).await });
            }
        }
    }
}

async fn answer(gate: Arc<Gate>, shell: Arc<Shell>, socket: OwnedFd) {
    let throttle = shell.throttle.clone();
    let number = shell.number;
    let ended = serve::serve(socket, throttle, move |bytes| {
        let (gate, room) = (gate.clone(), shell.room());
        async move {
            match room {
                Some(room) => gate.answer(&room, &bytes, Transport::Udp).await,
                None => message::refuse(&bytes),
            }
        }
    })
    .await;
    match ended {
        Err(error) => tracing::error!(shell = number, %error, "questions about names are no longer answered"),
    }
}

/// The next close of this connection is a reset.
pub(super) fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "a connection could not be set to end by a reset");
    }
}
