//! Names of environment variables whose hosts and places are known.

use hyper::http::HeaderName;
use ringfence_model::api::Exchange;

use super::binding::{BasicPart, Binding, Placement, Signing};
use super::placeholder::Shape;
use crate::sign;

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
            binding: placed(
                &ALPACA_HOSTS,
                vec![
                    Placement::Header(HeaderName::from_static("apca-api-key-id")),
                    Placement::Basic(BasicPart::User),
                    // `key` on the data stream, `key_id` (older clients) or `key` on the trading stream.
                    Placement::FirstFrame { fields: vec!["key".into(), "key_id".into()] },
                ],
            ),
        },
        "ALPACA_SECRET" | "ALPACA_SECRET_KEY" | "APCA_API_SECRET_KEY" => Preset {
            shape: Shape::AlpacaSecret,
            binding: placed(
                &ALPACA_HOSTS,
                vec![
                    Placement::Header(HeaderName::from_static("apca-api-secret-key")),
                    Placement::Basic(BasicPart::Password),
                    Placement::FirstFrame { fields: vec!["secret".into(), "secret_key".into()] },
                ],
            ),
        },
        "ANTHROPIC_API_KEY" | "anthropic_key" => Preset {
            shape: Shape::Anthropic,
            binding: placed(
                &ANTHROPIC_HOSTS,
                vec![Placement::Header(HeaderName::from_static("x-api-key")), Placement::Bearer],
            ),
        },
        "BINANCE_API_KEY" => key(Exchange::Binance),
        "BINANCE_API_SECRET" | "BINANCE_SECRET_KEY" | "BINANCE_SECRET" => signing(Exchange::Binance),
        "BYBIT_API_KEY" => key(Exchange::Bybit),
        "BYBIT_API_SECRET" | "BYBIT_SECRET_KEY" | "BYBIT_SECRET" => signing(Exchange::Bybit),
        "OKX_API_KEY" => key(Exchange::Okx),
        "OKX_API_SECRET" | "OKX_SECRET_KEY" | "OKX_SECRET" => signing(Exchange::Okx),
        "OKX_PASSPHRASE" | "OKX_API_PASSPHRASE" | "OKX_PASSWORD" => Preset {
            shape: Shape::Generic,
            binding: placed(
                sign::hosts(Exchange::Okx),
                vec![Placement::Header(HeaderName::from_static("ok-access-passphrase"))],
            ),
        },
        "KRAKEN_API_KEY" => key(Exchange::Kraken),
        "KRAKEN_API_SECRET" | "KRAKEN_PRIVATE_KEY" | "KRAKEN_SECRET" => signing(Exchange::Kraken),
        "COINBASE_API_KEY" => key(Exchange::Coinbase),
        "COINBASE_API_SECRET" | "COINBASE_PRIVATE_KEY" | "COINBASE_SECRET" => signing(Exchange::Coinbase),
        _ => return None,
    })
}

/// What the placeholder of a secret of this name and binding looks like.
#[must_use]
pub fn shape(name: &str, binding: &Binding) -> Shape {
    match &binding.sign {
        Some(signing) => shape_of(signing.exchange),
        None if binding.placements.contains(&Placement::Jwt) => Shape::CoinbaseKeyName,
        None => preset(name).map_or(Shape::Generic, |preset| preset.shape),
    }
}

/// Of what signs: a client signs with the placeholder, so that it must be fit for that.
fn shape_of(exchange: Exchange) -> Shape {
    match exchange {
        Exchange::Binance | Exchange::Bybit | Exchange::Okx => Shape::Generic,
        Exchange::Kraken => Shape::Base64,
        Exchange::Coinbase => Shape::CoinbaseSecret,
    }
}

fn placed(hosts: &[&str], placements: Vec<Placement>) -> Binding {
    Binding { hosts: hosts.iter().map(ToString::to_string).collect(), ports: vec![443], placements, sign: None }
}

/// The name of a key, which is sent as it is.
fn key(exchange: Exchange) -> Preset {
    let (shape, placement) = match sign::key_header(exchange) {
        Some(header) => (Shape::Generic, Placement::Header(header)),
        None => (Shape::CoinbaseKeyName, Placement::Jwt),
    };
    Preset { shape, binding: placed(sign::hosts(exchange), vec![placement]) }
}

/// The key itself, which signs.
fn signing(exchange: Exchange) -> Preset {
    let sign = Some(Signing::of(exchange));
    Preset { shape: shape_of(exchange), binding: Binding { sign, ..placed(sign::hosts(exchange), vec![]) } }
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
            "BINANCE_API_KEY",
            "BYBIT_API_SECRET",
            "OKX_SECRET_KEY",
            "OKX_PASSWORD",
            "OKX_API_PASSPHRASE",
            "KRAKEN_PRIVATE_KEY",
            "COINBASE_SECRET",
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
        for exchange in Exchange::ALL {
            let name = exchange.as_str().to_ascii_uppercase();
            let key = preset(&format!("{name}_API_KEY")).expect("known");
            let secret = preset(&format!("{name}_API_SECRET")).expect("known");
            assert_eq!(key.binding.hosts, secret.binding.hosts);
            assert!(key.binding.sign.is_none() && key.binding.placements.len() == 1);
            assert!(secret.binding.sign.is_some_and(|sign| sign.exchange == exchange));
            assert!(secret.binding.placements.is_empty(), "it is never sent");
        }
    }
}
