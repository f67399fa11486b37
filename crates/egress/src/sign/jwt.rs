//! JSON Web Tokens (RFC 7519) for Coinbase's API.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};

use super::key::JwtKey;
use super::stamp::UnixMicros;

/// How long a token is good for, in seconds: Coinbase takes no longer one.
const VALID_S: u64 = 120;

/// The token for one request (docs.cdp.coinbase.com, "JWT authentication"). `path` is without the query. It holds for this
/// method, host and path alone.
pub(super) fn coinbase(
    key: &JwtKey,
    key_name: &str,
    (method, host, path): (&str, &str, &str),
    now: UnixMicros,
) -> Result<String, ring::error::Unspecified> {
    let mut nonce = [0; 16];
    SystemRandom::new().fill(&mut nonce)?;
    let header = json!({"alg": key.algorithm(), "typ": "JWT", "kid": key_name, "nonce": hex::encode(nonce)});
    let begin = now.seconds();
    let claims = json!({
        "iss": "cdp",
        "sub": key_name,
        "nbf": begin,
        "exp": begin.saturating_add(VALID_S),
        "uri": format!("{method} {host}{path}"),
    });
    compact(key, &text(&header), &text(&claims))
}

/// The compact form of a signed text (RFC 7515, section 7.1).
fn compact(key: &JwtKey, header: &[u8], payload: &[u8]) -> Result<String, ring::error::Unspecified> {
    let mut token = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests;
