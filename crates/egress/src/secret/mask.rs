//! Turning secrets in what comes back into their placeholders.

use std::sync::Arc;

use bytes::Bytes;
use hyper::http::{HeaderMap, HeaderValue};
pub use ringfence_model::mask::Mask;
pub(super) use ringfence_model::mask::Masks;

use super::BoundSecret;

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

#[cfg(test)]
mod tests;
