//! Names of environment variables whose hosts and places are known.

use hyper::http::HeaderName;

use super::binding::{BasicPart, Binding, Placement};
use super::placeholder::Shape;

/// Alpaca's hosts: trading (paper), data, and the data stream (docs.alpaca.markets). `api.alpaca.markets`, which trades with
/// real money, is not one of them: it is the operator's to open.
const ALPACA_HOSTS: [&str; 3] = ["paper-api.alpaca.markets", "data.alpaca.markets", "stream.data.alpaca.markets"];
const ANTHROPIC_HOSTS: [&str; 1] = ["api.anthropic.com"];

/// What is known about a secret from its name alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preset {
    /// What its placeholder looks like.
    pub shape: Shape,
    /// Where it may go. These hosts are opened for a sandbox that is given such a secret, and no others.
    pub binding: Binding,
}

/// The preset for a variable of this name, as clients spell it.
#[must_use]
pub fn preset(name: &str) -> Option<Preset> {
    Some(match name {
        "ALPACA_API_KEY" | "APCA_API_KEY_ID" => Preset {
            shape: Shape::AlpacaKeyId,
            binding: Binding {
                hosts: ALPACA_HOSTS.map(Into::into).to_vec(),
                ports: vec![443],
                placements: vec![
                    Placement::Header(HeaderName::from_static("apca-api-key-id")),
                    Placement::Basic(BasicPart::User),
                    // `key` on the data stream, `key_id` (older clients) or `key` on the trading stream.
                    Placement::FirstFrame { fields: vec!["key".into(), "key_id".into()] },
                ],
            },
        },
        "ALPACA_SECRET" | "ALPACA_SECRET_KEY" | "APCA_API_SECRET_KEY" => Preset {
            shape: Shape::AlpacaSecret,
            binding: Binding {
                hosts: ALPACA_HOSTS.map(Into::into).to_vec(),
                ports: vec![443],
                placements: vec![
                    Placement::Header(HeaderName::from_static("apca-api-secret-key")),
                    Placement::Basic(BasicPart::Password),
                    Placement::FirstFrame { fields: vec!["secret".into(), "secret_key".into()] },
                ],
            },
        },
        "ANTHROPIC_API_KEY" | "anthropic_key" => Preset {
            shape: Shape::Anthropic,
            binding: Binding {
                hosts: ANTHROPIC_HOSTS.map(Into::into).to_vec(),
                ports: vec![443],
                placements: vec![Placement::Header(HeaderName::from_static("x-api-key")), Placement::Bearer],
            },
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_of_a_key() {
        for name in [
            "ALPACA_API_KEY",
            "APCA_API_KEY_ID",
            "ALPACA_SECRET",
            "ALPACA_SECRET_KEY",
            "APCA_API_SECRET_KEY",
            "ANTHROPIC_API_KEY",
            "anthropic_key",
        ] {
            assert!(preset(name).is_some() && ringfence_model::net::is_key_name(name), "{name}");
        }
    }

    #[test]
    fn every_spelling_that_clients_use_is_known() {
        for name in ["ALPACA_API_KEY", "APCA_API_KEY_ID"] {
            let preset = preset(name).expect("known");
            assert_eq!(preset.shape, Shape::AlpacaKeyId);
            assert!(preset.binding.covers("paper-api.alpaca.markets", 443));
            assert!(!preset.binding.covers("api.alpaca.markets", 443));
            assert!(!preset.binding.covers("paper-api.alpaca.markets", 80));
            assert!(!preset.binding.covers("x.paper-api.alpaca.markets", 443));
        }
        for name in ["ALPACA_SECRET", "ALPACA_SECRET_KEY", "APCA_API_SECRET_KEY"] {
            let preset = preset(name).expect("known");
            assert_eq!(preset.shape, Shape::AlpacaSecret);
            assert!(preset.binding.covers("stream.data.alpaca.markets", 443));
            assert!(preset.binding.in_frame(Some("secret_key")) && !preset.binding.in_frame(Some("key")));
        }
        for name in ["ANTHROPIC_API_KEY", "anthropic_key"] {
            let preset = preset(name).expect("known");
            assert!(preset.binding.covers("api.anthropic.com", 443) && !preset.binding.in_frame(Some("key")));
        }
        assert!(preset("ALPACA_BASE_URL").is_none());
    }
}
