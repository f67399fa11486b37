//! Turning secrets in what comes back into their placeholders.

use std::sync::Arc;

use bytes::Bytes;
use hyper::http::{HeaderMap, HeaderValue};
pub use ringfence_model::mask::Mask;
pub(super) use ringfence_model::mask::Masks;

use super::BoundSecret;
use super::placeholder::{Placeholder, Shape};

/// The values of these secrets, with their placeholders in their place.
pub(super) fn masks(secrets: &[BoundSecret]) -> Masks {
    Masks::new(secrets.iter().filter_map(|secret| {
        let value = secret.value.as_ref()?;
        Some((value.expose(), secret.placeholder.as_str().as_bytes()))
    }))
}

/// Masks the values of headers.
pub(super) fn mask_headers(masks: &Arc<Masks>, headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        let original = Bytes::copy_from_slice(value.as_bytes());
        let masked = Mask::new(Arc::clone(masks)).whole(original.clone());
        if masked != original {
            // A placeholder is made of letters that any header can hold.
            *value = HeaderValue::from_bytes(&masked).unwrap_or(HeaderValue::from_static(""));
        }
    }
}

/// Something that one request carries and that its answer is not to repeat: a signature.
#[derive(Debug, Clone)]
pub struct Echo(Arc<Masks>);

impl Echo {
    /// Of this text, in whose place a random one is shown.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        let shown = Placeholder::generate(Shape::Generic, text);
        Self(Arc::new(Masks::new([(text, shown.as_str().as_bytes())])))
    }

    /// Masks it in headers.
    pub fn headers(&self, headers: &mut HeaderMap) {
        mask_headers(&self.0, headers);
    }

    /// A mask for a body.
    #[must_use]
    pub fn mask(&self) -> Mask {
        Mask::new(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests;
