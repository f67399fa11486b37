//! Carries requests to file workers and their answers to the host.
//!
//! A worker runs as the program's user, so a program may kill or stop it at any moment. Whatever it does, the host sees
//! whole frames and one end: they pass through here, one by one, and init writes the last one when the worker does not.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use ringfence_guest::frames::{FILE_BYTES_MAX, Frame, HEADER_BYTES, Header};

use crate::{
    files,
    sys::{self, Forked, Ready},
};

/// A worker that has not finished by then is killed. It ends itself a little earlier; a stopped one does not.
const WORKER_PATIENCE: Duration = Duration::from_secs(files::WORKER_SECONDS as u64 + 1);

/// What became of one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A request was answered.
    Served,
    /// The host closed the socket.
    HostIsGone,
}

/// Pid 1.
pub(crate) struct Init {
    socket: File,
    signals: File,
    /// Its pid is its own until it is waited for: only [`Self::end_worker`] does that.
    worker: Option<i32>,
}

/// A worker and the pipes to and from it.
struct Worker {
    /// Closed when all of the content is written, or when the worker does not take it.
    content: Option<File>,
    answer: File,
    deadline: Instant,
}

impl Init {
    /// Takes over the frame socket, and the signals.
    pub(crate) fn take_over() -> io::Result<Self> {
        let socket = sys::inherited_socket()?;
        sys::set_nonblocking(socket.as_fd())?;
        Ok(Self { socket, signals: sys::child_signals()?, worker: None })
    }

    /// Waits for a request, has it carried out, and answers it.
    pub(crate) fn serve_one(&mut self) -> io::Result<Outcome> {
        let Some((tag, request)) = self.read_frame()? else { return Ok(Outcome::HostIsGone) };
        let size = match &request {
            Frame::Write { size, .. } => Some(*size),
            Frame::Read { .. } | Frame::Stat { .. } | Frame::List { .. } | Frame::Remove { .. } => None,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        let mut worker = match size {
            Some(size) if size > FILE_BYTES_MAX => Err(io::Error::from_raw_os_error(libc::EFBIG)),
            _ => self.start_worker(&request),
        };
        // The content comes whatever became of the worker, and must not be taken for the next request.
        if let Some(size) = size
            && !self.take_content(tag, size, worker.as_mut().ok())?
        {
            return Ok(Outcome::HostIsGone);
        }
        let last = match worker {
            Ok(mut worker) => {
                worker.content = None;
                let last = self.relay_answer(tag, &worker)?;
                self.end_worker();
                last
            }
            Err(e) => files::error(&e),
        };
        self.send(tag, &last)?;
        Ok(Outcome::Served)
    }

    fn start_worker(&mut self, request: &Frame) -> io::Result<Worker> {
        let (content_read, content_write) = sys::pipe()?;
        let (answer_read, answer_write) = sys::pipe()?;
        sys::set_nonblocking(content_write.as_fd())?;
        sys::set_nonblocking(answer_read.as_fd())?;
        match sys::fork()? {
            Forked::Child => {
                drop((content_write, answer_read));
                sys::exit_now(files::work(request, content_read, answer_write))
            }
            Forked::Parent(pid) => {
                self.worker = Some(pid);
                let deadline = Instant::now() + WORKER_PATIENCE;
                Ok(Worker { content: Some(content_write), answer: answer_read, deadline })
            }
        }
    }

    /// Reads `size` bytes of content and hands them on, or drops them when there is nobody to take them. False when the
    /// host is gone.
    fn take_content(&self, tag: u16, size: u64, mut worker: Option<&mut Worker>) -> io::Result<bool> {
        let mut missing = size;
        while missing > 0 {
            let data = match self.read_frame()? {
                Some((t, Frame::Data(data))) if t == tag && !data.is_empty() => data,
                Some(_) => return Err(io::ErrorKind::InvalidData.into()),
                None => return Ok(false),
            };
            missing = missing.checked_sub(data.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
            if let Some(worker) = worker.as_deref_mut()
                && let Some(content) = &worker.content
                && !self.write_all(content, &data, Some(worker.deadline))?
            {
                worker.content = None;
            }
        }
        Ok(true)
    }

    /// Sends on what the worker says, up to its last frame, which is returned; or what became of it.
    fn relay_answer(&self, tag: u16, worker: &Worker) -> io::Result<Frame> {
        loop {
            let mut header = [0; HEADER_BYTES];
            if !self.read_exact(&worker.answer, &mut header, Some(worker.deadline))? {
                return Ok(unanswered(worker));
            }
            let Ok(header) = Header::parse(header) else { return Ok(unanswered(worker)) };
            let mut payload = vec![0; header.len];
            if !self.read_exact(&worker.answer, &mut payload, Some(worker.deadline))? {
                return Ok(unanswered(worker));
            }
            match Frame::decode(header, &payload) {
                Ok(frame @ (Frame::Data(_) | Frame::Entry(_))) => self.send(tag, &frame)?,
                Ok(last @ (Frame::End { .. } | Frame::Error { .. })) => return Ok(last),
                _ => return Ok(unanswered(worker)),
            }
        }
    }

    /// Sees to it that nothing of the worker is left.
    fn end_worker(&mut self) {
        if let Some(pid) = self.worker.take() {
            sys::kill(pid);
            sys::wait_for(pid);
        }
        // While it was a zombie, those behind it waited.
        sys::reap_orphans(None);
    }

    fn send(&self, tag: u16, frame: &Frame) -> io::Result<()> {
        // Without a deadline: the host may be slow, and nothing else is to be done meanwhile but reaping.
        if self.write_all(&self.socket, &frame.encode(tag), None)? {
            Ok(())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    /// A frame of the host; `None` at the end of the stream.
    fn read_frame(&self) -> io::Result<Option<(u16, Frame)>> {
        let mut header = [0; HEADER_BYTES];
        if !self.read_exact(&self.socket, &mut header, None)? {
            return Ok(None);
        }
        let bad = |_| io::Error::from(io::ErrorKind::InvalidData);
        let header = Header::parse(header).map_err(bad)?;
        let mut payload = vec![0; header.len];
        if !self.read_exact(&self.socket, &mut payload, None)? {
            return Ok(None);
        }
        Ok(Some((header.tag, Frame::decode(header, &payload).map_err(bad)?)))
    }

    /// Fills `buffer`. False when the other side has ended, or the deadline has passed.
    fn read_exact(&self, mut file: &File, mut buffer: &mut [u8], deadline: Option<Instant>) -> io::Result<bool> {
        while !buffer.is_empty() {
            match file.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(len) => buffer = &mut buffer[len..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait(file.as_fd(), Ready::ToRead, deadline)? {
                        return Ok(false);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.raw_os_error() == Some(libc::ECONNRESET) => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Writes all of `bytes`. False when nobody reads them any more, or the deadline has passed.
    fn write_all(&self, mut file: &File, mut bytes: &[u8], deadline: Option<Instant>) -> io::Result<bool> {
        while !bytes.is_empty() {
            match file.write(bytes) {
                Ok(len) => bytes = &bytes[len..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait(file.as_fd(), Ready::ToWrite, deadline)? {
                        return Ok(false);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Waits until `fd` is ready, and reaps meanwhile. False when the deadline has passed.
    fn wait(&self, fd: BorrowedFd<'_>, ready: Ready, deadline: Option<Instant>) -> io::Result<bool> {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            let waited = sys::poll(fd, ready, self.signals.as_fd(), left)?;
            if waited.signal {
                sys::drain(&self.signals);
                sys::reap_orphans(self.worker);
            }
            if waited.ready {
                return Ok(true);
            }
        }
    }
}

fn unanswered(worker: &Worker) -> Frame {
    if Instant::now() >= worker.deadline {
        return Frame::Error { errno: libc::ETIMEDOUT.cast_unsigned(), text: "it took too long".into() };
    }
    Frame::Error { errno: libc::EIO.cast_unsigned(), text: "the process that carried it out was killed".into() }
}
