//! Private keys of JWTs, as Coinbase hands them out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use zeroize::Zeroizing;

/// The object identifier of the curve P-256, with its tag (RFC 5480, section 2.1.1.1).
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Why a secret is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It was to be base64.
    #[error("the secret is not base64, which this exchange's secrets are")]
    NotBase64,
    /// It is no private key of a kind that is known.
    #[error(
        "the secret is no private key: a PEM block `EC PRIVATE KEY` or `PRIVATE KEY` of P-256 or Ed25519, with its public key, or base64 of an Ed25519 key is expected"
    )]
    NotAKey,
    /// Its name cannot be sent in a header.
    #[error("the name of the key, or its passphrase, has characters that a header cannot hold")]
    NotAHeader,
}

/// A key that signs JWTs. ring's own copy of it is not wiped.
pub(super) enum JwtKey {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl JwtKey {
    /// From PEM (line ends may be written `\n`, as they are in Coinbase's JSON files), or base64 of an Ed25519 seed, alone or
    /// with the public key behind it.
    pub(super) fn read(secret: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(secret).map_err(|_| KeyError::NotAKey)?;
        let text = Zeroizing::new(text.replace("\\n", "\n"));
        let Some((label, body)) = pem(&text) else {
            return Self::ed25519(&decode(&text)?);
        };
        let der = decode(body)?;
        let random = SystemRandom::new();
        match label {
            "EC PRIVATE KEY" => {
                let (private, public) = sec1(&der).ok_or(KeyError::NotAKey)?;
                EcdsaKeyPair::from_private_key_and_public_key(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    private,
                    public,
                    &random,
                )
                .map(Self::Es256)
                .map_err(|_| KeyError::NotAKey)
            }
            "PRIVATE KEY" => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random)
                .map(Self::Es256)
                .or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map(Self::EdDsa))
                .map_err(|_| KeyError::NotAKey),
            _ => Err(KeyError::NotAKey),
        }
    }

    fn ed25519(bytes: &[u8]) -> Result<Self, KeyError> {
        match bytes.split_at_checked(32) {
            Some((seed, [])) => Ed25519KeyPair::from_seed_unchecked(seed),
            Some((seed, public)) => Ed25519KeyPair::from_seed_and_public_key(seed, public),
            None => return Err(KeyError::NotAKey),
        }
        .map(Self::EdDsa)
        .map_err(|_| KeyError::NotAKey)
    }

    /// Its name in the header of a JWT (RFC 7518, section 3.1; RFC 8037, section 3.1).
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    /// A signature of 64 bytes.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ring::error::Unspecified> {
        match self {
            Self::Es256(pair) => Ok(pair.sign(&SystemRandom::new(), message)?.as_ref().to_vec()),
            Self::EdDsa(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

impl std::fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JwtKey({})", self.algorithm())
    }
}

/// Label and body of the first block (RFC 7468).
fn pem(text: &str) -> Option<(&str, &str)> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, end) = rest.split_once("-----END ")?;
    end.strip_prefix(label)?.strip_prefix("-----")?;
    Some((label, body))
}

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let compact = Zeroizing::new(text.chars().filter(|char| !char.is_ascii_whitespace()).collect::<String>());
    STANDARD.decode(&*compact).map(Zeroizing::new).map_err(|_| KeyError::NotAKey)
}

/// Private and public part of an `ECPrivateKey` (RFC 5915, section 3). The public one may be absent there, but ring wants it.
fn sec1(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, rest) = element(der, 0x30)?;
    rest.is_empty().then_some(())?;
    let (version, rest) = element(sequence, 0x02)?;
    (version == [1]).then_some(())?;
    let (private, mut rest) = element(rest, 0x04)?;
    if let Some((curve, after)) = element(rest, 0xa0) {
        (curve == P256).then_some(())?;
        rest = after;
    }
    let (public, rest) = element(rest, 0xa1)?;
    rest.is_empty().then_some(())?;
    let (bits, rest) = element(public, 0x03)?;
    rest.is_empty().then_some(())?;
    Some((private, bits.strip_prefix(&[0])?))
}

/// The content of the DER element at the beginning, if it has this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    (first == tag).then_some(())?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => rest.split_first().map(|(&length, rest)| (usize::from(length), rest))?,
        // A key of P-256 has less than 256 bytes.
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
pub(super) mod tests;
