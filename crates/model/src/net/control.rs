//! What `serve` and the gateway say to each other, as JSON, one value a line, over a socket that the supervisor made.
//!
//! `serve` asks ([`Call`]) and is answered ([`FromGate::Answer`]), in any order; the gateway tells of refusals as they
//! happen ([`FromGate::Denied`]). A refusal is told before the program that was refused hears of it, so whoever asks for a
//! [`GateOp::Fence`] after a program has ended has heard of all of its refusals when the answer is there.

mod figures;
mod trade;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Denial, HostName};
use crate::{
    ApiError, Project, SandboxId,
    api::{AuditCut, GateChain, Network, PortSpec, SecretSigning},
};

pub use figures::{GateFigures, OrderCount, OrderVerdict};
pub use trade::{TradeAsked, TradeOp, TradeSaid, TradeScope};

/// Bytes that one line may have.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// A question of `serve`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by `serve`, and returned with the answer; 0 wants none.
    pub id: u64,
    /// What to do.
    pub op: GateOp,
}

/// What the gateway can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateOp {
    /// A sandbox lives in this shell from now on. Its policy is the one that was set, else none.
    Attach {
        /// Which.
        sandbox: SandboxId,
        /// The jailer's number of its shell.
        shell: u32,
    },
    /// The sandbox has stopped: its connections are closed; its policy and placeholders stay.
    Detach {
        /// Which.
        sandbox: SandboxId,
    },
    /// It is deleted: nothing is kept but decisions.
    Forget {
        /// Which.
        sandbox: SandboxId,
    },
    /// These are all sandboxes that there are: whatever is kept of another is forgotten. Said once, when `serve` begins.
    Keep {
        /// All of them.
        sandboxes: Vec<SandboxId>,
    },
    /// These are all sandboxes that live in a shell: what another has left open at a venue is cancelled, if its limits say so. Said to
    /// each gateway that begins, for the one before may have died with the word of an end.
    Settle {
        /// All of them.
        living: Vec<SandboxId>,
    },
    /// Sets a policy. Answered when it is on disk and in force, open connections included. Answer: [`GateAnswer::Done`].
    SetPolicy {
        /// Whose.
        sandbox: SandboxId,
        /// What is allowed.
        network: Network,
        /// Whether an agent asks for it, who may name no other hosts than the operator lets agents name.
        by_agent: bool,
    },
    /// Opens the package registries to a sandbox for as long as something is installed in it, or closes them again. Kept in
    /// memory only. Answer: [`GateAnswer::Done`].
    Registries {
        /// Which.
        sandbox: SandboxId,
        /// Whether they are open.
        open: bool,
    },
    /// Which policies are set, and what has passed. Answer: [`GateAnswer::Status`].
    Status {
        /// Whose.
        sandbox: SandboxId,
    },
    /// What was decided, newest first; with `after`, oldest first from there. Answer: [`GateAnswer::Decisions`].
    Decisions {
        /// Of this sandbox alone.
        sandbox: Option<SandboxId>,
        /// Numbers greater than this.
        after: Option<u64>,
        /// At most so many.
        limit: u32,
    },
    /// Walks the gateway's audit chain. Answer: [`GateAnswer::Chain`].
    Verify,
    /// Cuts entries off the beginning of the gateway's audit chain. Answer: [`GateAnswer::Done`].
    PruneAudit {
        /// Which.
        cut: AuditCut,
    },
    /// Answered after every refusal that was told before. Answer: [`GateAnswer::Done`].
    Fence,
    /// The public key that a secret's value is sealed with. Answer: [`GateAnswer::Key`].
    Key,
    /// Stores a secret, or replaces the value of one. Answer: [`GateAnswer::Secrets`] with that one.
    SetSecret {
        /// Whose.
        project: Project,
        /// Its name.
        name: String,
        /// The value, sealed with the gateway's public key and [`stored_context`] as context; base64.
        sealed: String,
        /// Where it may go; `None` keeps what was bound, or takes the preset of the name.
        binding: Option<SecretBinding>,
        /// Whether one of this name must be there already (rotation) or must not.
        rotate: bool,
    },
    /// The secrets of operators. Answer: [`GateAnswer::Secrets`].
    Secrets {
        /// Of this project alone; without one, all.
        project: Option<Project>,
    },
    /// Removes a secret; every sandbox that uses it can use it no more. Answer: [`GateAnswer::Done`].
    RemoveSecret {
        /// Whose.
        project: Project,
        /// Its name.
        name: String,
    },
    /// Keeps values that a client gave for a sandbox, which are then secrets of that sandbox alone, in the place of what it had
    /// under these names; and opens the hosts that are known for each name, because it is a preset or one of the operator's
    /// secrets. All or, unless `or_expose`, none. Answer: [`GateAnswer::Sealed`], in this order.
    SealSecrets {
        /// Which sandbox.
        sandbox: SandboxId,
        /// Its project.
        project: Project,
        /// Names and values.
        values: Vec<SealedValue>,
        /// Whether names whose hosts are unknown are passed over; else they are an error.
        or_expose: bool,
        /// Whether an agent gives them, for whom no other hosts are opened than the operator lets agents name.
        by_agent: bool,
    },
    /// Takes secrets from a sandbox: those of clients are revoked, those of the operator stay for others. Names that it does
    /// not have are passed over. Answer: [`GateAnswer::Done`].
    DropSecrets {
        /// Which sandbox.
        sandbox: SandboxId,
        /// Its project.
        project: Project,
        /// Names of secrets.
        names: Vec<String>,
    },
    /// Lets a sandbox use the secrets of these names that its project's operator has stored, and opens the hosts that they are bound to. Answer:
    /// [`GateAnswer::Placeholders`], in this order.
    UseSecrets {
        /// Which sandbox.
        sandbox: SandboxId,
        /// Its project.
        project: Project,
        /// Names of secrets.
        names: Vec<String>,
    },
    /// What was counted, and whether the exchange answers. It may wait for that one, and is answered out of turn. Answer:
    /// [`GateAnswer::Figures`].
    Figures,
    /// About trading. It may wait for a venue, and is answered out of turn. Answer: [`GateAnswer::Trade`].
    Trade(TradeAsked),
}

/// A value that a client gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedValue {
    /// The name of its variable.
    pub name: String,
    /// The value, sealed with the gateway's public key and [`seal_context`] as context; base64.
    pub sealed: String,
}

/// What a value that an operator stores is sealed for: one name in one project.
#[must_use]
pub fn stored_context(project: &Project, name: &str) -> Vec<u8> {
    if *project == Project::default() {
        return name.as_bytes().to_vec();
    }
    // No sandbox is called so, whatever a project is called.
    format!("project {project}/{name}").into_bytes()
}

/// What a value that a client gave is sealed for: one name in one sandbox.
#[must_use]
pub fn seal_context(sandbox: &SandboxId, name: &str) -> Vec<u8> {
    format!("{sandbox}/{name}").into_bytes()
}

/// What became of a value that a client gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// Its name.
    pub name: String,
    /// What the sandbox sees in its place; `None` where the hosts of such a name are unknown, or the value is too short to be a key.
    pub placeholder: Option<String>,
    /// The hosts that it may go to.
    pub hosts: Vec<HostName>,
}

/// Where a secret may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretBinding {
    /// Exact host names.
    pub hosts: Vec<HostName>,
    /// Ports; 443 when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortSpec>,
    /// In which places: `header:NAME`, `bearer`, `basic:user`, `basic:password`, `query:FIELD`, `frame:FIELD`, `jwt`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placements: Vec<String>,
    /// That it signs instead. Its hosts are those of the exchange when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign: Option<SecretSigning>,
}

/// What the gateway says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromGate {
    /// To a [`Call`].
    Answer {
        /// Of the call.
        id: u64,
        /// What came of it.
        result: Result<GateAnswer, ApiError>,
    },
    /// Something was refused.
    Denied {
        /// Whose.
        sandbox: SandboxId,
        /// What, and why.
        denial: Denial,
        /// Whether the operator wants a sandbox paused that did this.
        pause: bool,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateAnswer {
    /// It is done.
    Done,
    /// The state of a sandbox's network.
    Status {
        /// What is allowed.
        network: Network,
        /// Names of the secrets that it may use, each with twelve hexadecimal digits that change with its value.
        secrets: BTreeMap<String, String>,
        /// What has passed.
        totals: Traffic,
        /// Where its orders go, in a word.
        #[serde(default)]
        trading: String,
    },
    /// Decisions.
    Decisions(Vec<DecisionView>),
    /// What was found of the chain.
    Chain(GateChain),
    /// 32 bytes in hexadecimal.
    Key(String),
    /// Secrets, without values.
    Secrets(Vec<SecretView>),
    /// What a sandbox sees in place of each.
    Placeholders(Vec<String>),
    /// What became of each value.
    Sealed(Vec<SealedSecret>),
    /// What was counted.
    Figures(Box<GateFigures>),
    /// About trading.
    Trade(Box<TradeSaid>),
}

/// What has passed the gate for one sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Connections, questions about names and requests that were let through.
    pub allowed: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Bytes that it sent.
    pub bytes_up: u64,
    /// Bytes that it received.
    pub bytes_down: u64,
}

/// One decision, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionView {
    /// Its number, which is that of its entry in the gateway's audit chain.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whose.
    pub sandbox: SandboxId,
    /// `dns`, `tcp`, `tls`, `http`, `ws` or `udp`.
    pub protocol: String,
    /// Host, or address where there is no name; with the port.
    pub destination: String,
    /// Method and path of a request.
    pub request: Option<String>,
    /// Names of the secrets that were put in.
    pub secrets: Vec<String>,
    /// The exchange in whose way it was signed by the gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// It was answered from what the gate had kept; nothing went out.
    pub cached: bool,
    /// `allow` or `refuse`.
    pub verdict: String,
    /// Why it was refused.
    pub reason: Option<String>,
    /// What came back: an HTTP status.
    pub status: Option<u16>,
    /// Bytes sent, when it is over.
    pub bytes_up: Option<u64>,
    /// Bytes received, when it is over.
    pub bytes_down: Option<u64>,
    /// How long it took, when it is over.
    pub milliseconds: Option<u64>,
}

/// A secret, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretView {
    /// Whose it is.
    pub project: Project,
    /// Its name.
    pub name: String,
    /// Of its value: grows with each rotation.
    pub version: u32,
    /// Twelve hexadecimal digits that change with the value.
    pub fingerprint: String,
    /// Where it may go.
    pub binding: SecretBinding,
    /// When it was first set, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When its value was last replaced.
    pub rotated_at_ms: Option<u64>,
    /// Whether it may be used no more.
    pub revoked: bool,
}
