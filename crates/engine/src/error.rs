//! Why something did not happen, inside; and the one place where that becomes what a client is told.

use ringfence_jail::proto::Refusal;
use ringfence_model::{ApiError, Code};
use ringfence_store::StoreError;

use crate::{jailer::JailerError, machine::MachineError};

/// A failure with its chain of causes. Clients are told [`Failure::public`]; the chain is for the log.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The database.
    #[error("the database")]
    Store(#[from] StoreError),
    /// The machine.
    #[error("the machine")]
    Machine(#[from] MachineError),
    /// A request that is refused.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Whether the kernel refused with one of these words: the jailer itself, or a builder that it had forked, whose report is text.
/// What a warm interpreter says is its packages' word, and is not believed.
fn kernel_said(refusal: &Refusal, words: &[&str]) -> bool {
    let text = match refusal {
        Refusal::Kernel { reason, .. } => reason,
        Refusal::Failed(why) if !why.starts_with("the zygote") => why,
        _ => return false,
    };
    words.iter().any(|word| text.contains(word))
}

impl Failure {
    /// All causes in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }

    /// What the client is told, after the chain was logged where it is a fault of ours.
    #[must_use]
    pub fn public(self) -> ApiError {
        match &self {
            Self::Api(error) => return error.clone(),
            Self::Machine(MachineError::Full(max)) => {
                return ApiError::new(
                    Code::InsufficientResources,
                    format!(
                        "all {max} places for sandboxes are taken; delete some (`ringfence sandbox rm`) and try again"
                    ),
                );
            }
            Self::Machine(MachineError::Jailer(JailerError::Gone)) => {
                return ApiError::new(
                    Code::InsufficientResources,
                    "the daemon is starting its jailer anew; try again in a second",
                );
            }
            Self::Machine(MachineError::Jailer(JailerError::Refused(refusal)))
                if kernel_said(refusal, &["No space left", "ENOSPC", "os error 28"]) =>
            {
                tracing::warn!(%refusal, "the host's disk is full");
                return ApiError::new(
                    Code::InsufficientResources,
                    "the host's disk is full; free some space (`ringfence doctor` says where) and try again",
                );
            }
            Self::Machine(MachineError::Jailer(JailerError::Refused(Refusal::DisksLost))) => {
                tracing::warn!("the disks of sandboxes take nothing");
                return ApiError::new(
                    Code::InsufficientResources,
                    "the host's disk was full, and the disks of sandboxes take nothing until there is room; \
                     free some space (`ringfence doctor` says where) and try again in a few seconds",
                );
            }
            // EMFILE and ENFILE: of the jailer, or of the host.
            Self::Machine(MachineError::Jailer(JailerError::Refused(refusal)))
                if kernel_said(refusal, &["os error 24", "os error 23"]) =>
            {
                tracing::warn!(%refusal, "there are no descriptors left");
                return no_descriptors();
            }
            Self::Machine(MachineError::Jailer(JailerError::Descriptors)) => {
                tracing::warn!("there are no descriptors left for what the jailer sends");
                return no_descriptors();
            }
            Self::Machine(MachineError::Jailer(JailerError::Refused(Refusal::Plan(why))))
                if why.contains("too large") =>
            {
                return ApiError::new(Code::TooLarge, format!("{why}; use a file for what is long"));
            }
            Self::Store(_) if self.chain().contains("disk is full") => {
                tracing::warn!(error = %self.chain(), "the state directory's disk is full");
                return ApiError::new(
                    Code::InsufficientResources,
                    "the disk of the daemon's state directory is full, and nothing is done that cannot be written down; \
                     free some space (`ringfence doctor` says where) and try again",
                );
            }
            Self::Store(error @ StoreError::InsufficientCredits { .. }) => {
                let text = format!(
                    "{error}; delete or stop sandboxes, or ask the operator for more (`ringfence credits grant`)"
                );
                return ApiError::new(Code::InsufficientCredits, text);
            }
            Self::Store(StoreError::Refused(why)) => return ApiError::new(Code::InvalidArgument, why.clone()),
            _ => {}
        }
        tracing::error!(error = %self.chain(), "a request failed");
        ApiError::internal(match &self {
            Self::Store(_) => "the database could not be used; the daemon's log says why",
            _ => "the sandbox could not be made or reached; the daemon's log and `ringfence doctor` say why",
        })
    }
}

fn no_descriptors() -> ApiError {
    ApiError::new(
        Code::InsufficientResources,
        "the daemon has no file descriptors left; delete sandboxes, or start it with a higher limit \
         (`LimitNOFILE=` in its unit, `ulimit -n` in a shell), and try again",
    )
}
