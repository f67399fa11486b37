//! Secrets: what a sandbox sees of them, where they may go, and how they get there.
//!
//! A sandbox holds [`Placeholder`]s. An [`Injector`] knows the placeholders of one sandbox and puts the real values into a
//! request, only at the hosts and in the places that each secret is bound to, and refuses a request that has one anywhere
//! else. A [`Scanner`] looks for them in bodies. A [`Mask`] turns values in what comes back into placeholders again.
//!
//! Nothing here does I/O, reads a clock, or decides whether a request may be made at all: it is given what was admitted.

mod binding;
mod frame;
mod inject;
pub(crate) mod json;
mod mask;
mod placeholder;
mod preset;
mod refusal;
mod scan;

use std::sync::Arc;

use ringfence_store::SecretValue;

pub use binding::{BasicPart, Binding, Placement, Signing};
pub use frame::{Frame, FrameKind};
pub use inject::{Destination, Injected, Injector, SetError};
pub(crate) use inject::{Spot, field_text};
pub use mask::{Echo, Mask};
pub use placeholder::{Placeholder, Shape};
pub use preset::{Preset, preset, shape};
pub use refusal::{Place, Refusal};
pub use scan::Scanner;

/// A secret as one sandbox has it.
#[derive(Debug, Clone)]
pub struct BoundSecret {
    /// Its name, which is what records and refusals say instead of its value.
    pub name: String,
    /// What the sandbox has.
    pub placeholder: Placeholder,
    /// The value. `None` when it was revoked: the placeholder is then refused everywhere.
    pub value: Option<Arc<SecretValue>>,
    /// Where it may go.
    pub binding: Binding,
}
