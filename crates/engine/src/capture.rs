//! What a program prints, capped while it is read: the first part is kept in memory, everything up to a larger limit in a
//! file, and all of it is counted.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use ringfence_model::mask::{Mask, Masks};
use tokio::sync::mpsc;

/// Bytes of a stream that answers hold.
pub(crate) const KEPT_BYTES_MAX: usize = 1 << 20;

/// Bytes of a stream that its log file holds.
pub(crate) const LOG_BYTES_MAX: u64 = 64 << 20;

/// Bytes of all log files together. What comes after is counted and not kept: no sandbox can fill the daemon's disk with
/// what it prints.
const ALL_LOGS_BYTES_MAX: u64 = 4 << 30;

/// Bytes of all log files now.
static ALL_LOGS: AtomicU64 = AtomicU64::new(0);

/// Counts the log files that an earlier run left in `dir`.
pub(crate) fn count_logs(dir: &Path) {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    ALL_LOGS.store(files.filter_map(|file| Some(file.metadata().ok()?.len())).sum(), Ordering::Relaxed);
}

/// Removes a log file, if it is there.
pub(crate) fn remove_log(path: &Path) {
    let len = std::fs::metadata(path).map_or(0, |file| file.len());
    if std::fs::remove_file(path).is_ok() {
        ALL_LOGS.fetch_sub(len, Ordering::Relaxed);
    }
}

/// One stream of one execution.
#[derive(Debug)]
pub(crate) struct Capture {
    path: PathBuf,
    state: Mutex<State>,
    /// Who hears of it as it comes. What does not fit is left out there.
    tap: Option<mpsc::Sender<Bytes>>,
}

#[derive(Debug, Default)]
struct State {
    kept: Vec<u8>,
    seen: u64,
    logged: u64,
    file: Option<File>,
    /// The file could not be written: said once, then only counted.
    broken: bool,
    /// What hides keys. It holds back what may become one.
    mask: Option<Mask>,
}

impl Capture {
    /// An empty capture; its file is made only when the stream outgrows what is kept. What `masks` finds is hidden before
    /// anything is kept or counted.
    #[must_use]
    pub(crate) fn new(path: PathBuf, masks: Option<Arc<Masks>>) -> Self {
        Self { path, state: Mutex::new(State { mask: masks.map(Mask::new), ..State::default() }), tap: None }
    }

    /// Has `tap` hear of it as it comes, masked.
    #[must_use]
    pub(crate) fn with_tap(self, tap: Option<mpsc::Sender<Bytes>>) -> Self {
        Self { tap, ..self }
    }

    /// Takes what was read.
    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut state = self.lock();
        match &mut state.mask {
            None => self.keep(&mut state, bytes),
            Some(mask) => {
                let masked = mask.feed(Bytes::copy_from_slice(bytes));
                self.keep(&mut state, &masked);
            }
        }
    }

    /// The stream has ended: what was held back is kept too.
    pub(crate) fn finish(&self) {
        let mut state = self.lock();
        if let Some(mask) = state.mask.take() {
            let rest = mask.finish();
            self.keep(&mut state, &rest);
        }
    }

    fn keep(&self, state: &mut State, bytes: &[u8]) {
        let before = state.seen;
        state.seen += bytes.len() as u64;
        if let Some(tap) = &self.tap {
            let _ = tap.try_send(Bytes::copy_from_slice(bytes));
        }
        let room = KEPT_BYTES_MAX - state.kept.len();
        state.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() <= room || state.broken || before >= LOG_BYTES_MAX {
            return;
        }
        if let Err(error) = self.log(state, &bytes[room..]) {
            state.broken = true;
            tracing::warn!(%error, "the log of an execution's output could not be written");
        }
    }

    fn log(&self, state: &mut State, rest: &[u8]) -> std::io::Result<()> {
        let State { kept, logged, file, .. } = state;
        if ALL_LOGS.load(Ordering::Relaxed) >= ALL_LOGS_BYTES_MAX {
            return Err(std::io::Error::other("all log files together have reached their limit"));
        }
        let file = match file {
            Some(file) => file,
            None => {
                let mut made =
                    OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&self.path)?;
                made.write_all(kept)?;
                *logged = kept.len() as u64;
                ALL_LOGS.fetch_add(*logged, Ordering::Relaxed);
                file.insert(made)
            }
        };
        let room = usize::try_from(LOG_BYTES_MAX.saturating_sub(*logged)).unwrap_or(usize::MAX);
        let part = &rest[..rest.len().min(room)];
        file.write_all(part)?;
        *logged += part.len() as u64;
        ALL_LOGS.fetch_add(part.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// What is kept, and how much there was.
    #[must_use]
    pub(crate) fn snapshot(&self) -> (Vec<u8>, u64) {
        let state = self.lock();
        (state.kept.clone(), state.seen)
    }

    /// Bytes seen so far.
    #[must_use]
    pub(crate) fn seen(&self) -> u64 {
        self.lock().seen
    }

    /// The file with more than what is kept, if there is one.
    #[must_use]
    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.lock().file.is_some().then(|| self.path.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_kept_in_part_and_logged_up_to_the_limit() {
        let dir = std::env::temp_dir().join(format!("ringfence-capture-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("the temporary directory is writable");
        let path = dir.join("out");
        let capture = Capture::new(path.clone(), None);
        let chunk: Vec<u8> = (0..=255).cycle().take(65_521).collect();
        let chunks = usize::try_from(LOG_BYTES_MAX).expect("fits") / chunk.len() + 20;
        for _ in 0..chunks {
            capture.push(&chunk);
        }
        let (kept, seen) = capture.snapshot();
        assert_eq!(kept.len(), KEPT_BYTES_MAX);
        assert_eq!(seen, (chunk.len() * chunks) as u64);
        let logged = std::fs::read(&path).expect("the flood outgrew what is kept");
        assert_eq!(logged.len() as u64, LOG_BYTES_MAX);
        assert_eq!(&logged[..KEPT_BYTES_MAX], &kept[..]);
        let whole: Vec<u8> = chunk.iter().copied().cycle().take(logged.len()).collect();
        assert!(logged == whole, "the file is the beginning of the stream");
        std::fs::remove_dir_all(dir).expect("it was made here");
    }

    #[test]
    fn little_output_makes_no_file() {
        let capture = Capture::new(PathBuf::from("/nonexistent/out"), None);
        capture.push(b"42\n");
        assert_eq!(capture.snapshot(), (b"42\n".to_vec(), 3));
        assert_eq!(capture.file(), None);
    }

    #[test]
    fn a_key_is_hidden_however_it_is_cut_and_nothing_is_lost() {
        let masks = Arc::new(Masks::new([(&b"sk-live-0123456789"[..], &b"[KEY hidden]"[..])]));
        let text = b"before sk-live-0123456789 between sk-live-01 after sk-live-";
        for cut in 0..text.len() {
            let capture = Capture::new("/nonexistent/out".into(), Some(Arc::clone(&masks)));
            capture.push(&text[..cut]);
            capture.push(&text[cut..]);
            capture.finish();
            let shown = String::from_utf8(capture.snapshot().0).expect("text");
            assert_eq!(shown, "before [KEY hidden] between sk-live-01 after sk-live-", "cut at {cut}");
        }
    }
}
