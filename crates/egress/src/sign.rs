//! Signing requests the way exchanges want it, with keys that no sandbox has.
//!
//! A client signs with its placeholder, so that its signature is wrong; a [`Signer`] takes that away and puts the right one
//! in its place. It signs whatever it is given: **call it for requests that a rule has admitted by method and path, and for
//! no others**, or it is an oracle. What is signed is the request itself as it is about to be sent, never text of a
//! client's choice, and time and nonce are the gate's.
//!
//! The order matters, and the types keep it: [`Signer::strip`] before placeholders are looked for (a token that a client
//! made holds the placeholder of the key's name), then [`Injector::inject`](crate::secret::Injector::inject), which may
//! change what is signed, then [`Stripped::sign`].
//!
//! Nothing here does I/O or reads a clock. Randomness comes from the kernel.

mod exchange;
mod fields;
mod jwt;
mod key;
mod recipe;
mod signer;
mod stamp;

pub use exchange::{hosts, is_guarded, is_signed, key_header, key_in, paths};
pub use key::KeyError;
pub use recipe::{Encoding, Hash, KeyForm, Piece, Recipe, Slot, StampForm};
pub use signer::{SignError, Signed, Signer, Stripped};
pub use stamp::UnixMicros;
