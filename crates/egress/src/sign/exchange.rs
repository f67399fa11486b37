//! What is known of each exchange beside its recipe: its hosts, the paths for trading and reading, and how a request names its
//! key.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hyper::http::request::Parts;
use hyper::http::{HeaderMap, HeaderName, header};
use ringfence_model::api::Exchange;

use super::recipe::Recipe;
use super::signer;

/// Bytes of a token that is looked into.
const TOKEN_BYTES_MAX: usize = 4 << 10;

/// How an exchange wants HMACs; none for one that wants tokens.
pub(super) fn recipe(exchange: Exchange) -> Option<Recipe> {
    match exchange {
        Exchange::Binance => Some(Recipe::binance()),
        Exchange::Bybit => Some(Recipe::bybit()),
        Exchange::Okx => Some(Recipe::okx()),
        Exchange::Kraken => Some(Recipe::kraken()),
        Exchange::Coinbase => None,
    }
}

/// The hosts of an exchange's trading interface, those for play money included: keys of theirs are other keys.
#[must_use]
pub fn hosts(exchange: Exchange) -> &'static [&'static str] {
    match exchange {
        Exchange::Binance => &[
            "api.binance.com",
            "fapi.binance.com",
            "dapi.binance.com",
            "testnet.binance.vision",
            "testnet.binancefuture.com",
        ],
        Exchange::Bybit => &["api.bybit.com", "api-demo.bybit.com", "api-testnet.bybit.com"],
        Exchange::Okx => &["www.okx.com"],
        Exchange::Kraken => &["api.kraken.com"],
        Exchange::Coinbase => &["api.coinbase.com"],
    }
}

/// What is signed when nothing else was said: reading and trading. Whatever an exchange adds elsewhere is not signed.
#[must_use]
pub fn paths(exchange: Exchange) -> &'static [&'static str] {
    match exchange {
        // Of `/sapi` only what ccxt and others read before they trade.
        Exchange::Binance => &[
            "/api/v3/**",
            "/fapi/v1/**",
            "/fapi/v2/**",
            "/fapi/v3/**",
            "/dapi/v1/**",
            "/dapi/v2/**",
            "/sapi/v1/capital/config/getall",
            "/sapi/v1/margin/allPairs",
            "/sapi/v1/margin/isolated/allPairs",
        ],
        Exchange::Bybit => &[
            "/v5/order/**",
            "/v5/position/**",
            "/v5/execution/**",
            "/v5/account/**",
            "/v5/market/**",
            "/v5/asset/coin/query-info",
            "/v5/user/query-api",
        ],
        Exchange::Okx => &[
            "/api/v5/trade/**",
            "/api/v5/account/**",
            "/api/v5/market/**",
            "/api/v5/public/**",
            "/api/v5/asset/currencies",
            "/api/v5/asset/balances",
        ],
        Exchange::Kraken => &[
            "/0/private/Balance",
            "/0/private/BalanceEx",
            "/0/private/TradeBalance",
            "/0/private/OpenOrders",
            "/0/private/ClosedOrders",
            "/0/private/QueryOrders",
            "/0/private/OrderAmends",
            "/0/private/TradesHistory",
            "/0/private/QueryTrades",
            "/0/private/OpenPositions",
            "/0/private/Ledgers",
            "/0/private/QueryLedgers",
            "/0/private/TradeVolume",
            "/0/private/AddOrder",
            "/0/private/AddOrderBatch",
            "/0/private/AmendOrder",
            "/0/private/EditOrder",
            "/0/private/CancelOrder",
            "/0/private/CancelOrderBatch",
            "/0/private/CancelAll",
            "/0/private/CancelAllOrdersAfter",
        ],
        Exchange::Coinbase => &[
            "/api/v3/brokerage/accounts",
            "/api/v3/brokerage/accounts/*",
            "/api/v3/brokerage/orders",
            "/api/v3/brokerage/orders/**",
            "/api/v3/brokerage/products",
            "/api/v3/brokerage/products/**",
            "/api/v3/brokerage/product_book",
            "/api/v3/brokerage/best_bid_ask",
            "/api/v3/brokerage/transaction_summary",
            "/api/v3/brokerage/key_permissions",
        ],
    }
}

/// Whether money leaves an account by this path, or keys and accounts are made: it is signed only where a rule names it
/// without `*`. By words, so that it holds for paths that an exchange adds; one too many costs a longer rule.
#[must_use]
pub fn is_guarded(path: &str) -> bool {
    const WORDS: [&str; 14] = [
        "withdraw",
        "transfer",
        "subaccount",
        "submember",
        "subapi",
        "updateapi",
        "deleteapi",
        "apikey",
        "apirestrictions",
        "giftcard",
        "localentity",
        "movefunds",
        "fiat",
        "/transactions",
    ];
    let plain: String = path.chars().filter(|c| !matches!(c, '-' | '_')).collect::<String>().to_ascii_lowercase();
    WORDS.iter().any(|word| plain.contains(word))
}

/// The header that names the key; none where a token does.
#[must_use]
pub fn key_header(exchange: Exchange) -> Option<HeaderName> {
    recipe(exchange).map(|recipe| recipe.key_id)
}

/// What a request gives as the name of its key, if it stands there once.
#[must_use]
pub fn key_in(exchange: Exchange, headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    let once = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).map(|value| value.as_bytes())
    };
    match key_header(exchange) {
        Some(name) => once(&name).map(Cow::Borrowed),
        None => token(once(&header::AUTHORIZATION)?).map(Cow::Owned),
    }
}

/// Whether the program has signed the request itself. Only then is it signed for it: an exchange refuses a signature where it
/// wants none.
#[must_use]
pub fn is_signed(exchange: Exchange, parts: &Parts, body: &Bytes) -> bool {
    // A token is a signature in itself.
    recipe(exchange).is_none_or(|recipe| signer::is_signed(&recipe, parts, body))
}

/// The `kid` of a token in the header of `Authorization: Bearer` (RFC 7515, section 4.1.4).
fn token(value: &[u8]) -> Option<Vec<u8>> {
    if value.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let (scheme, token) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let head = URL_SAFE_NO_PAD.decode(token.trim().split('.').next()?).ok()?;
    let head: serde_json::Value = serde_json::from_slice(&head).ok()?;
    Some(head.get("kid")?.as_str()?.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use ringfence_model::net::{CanonicalPath, HostName, PathPattern};

    use super::*;

    fn by_default(exchange: Exchange, path: &str) -> bool {
        let canonical = CanonicalPath::parse(path).expect("a path");
        let covers = |text: &&str| PathPattern::parse(text).expect("a pattern").matches(&canonical);
        paths(exchange).iter().any(covers) && !is_guarded(path)
    }

    /// Endpoints as the exchanges document them. By the first trades are made; by the second money leaves, or keys are made.
    #[test]
    fn trading_is_signed_and_withdrawing_is_not() {
        for (exchange, trades, leaves) in [
            (
                Exchange::Binance,
                &["/api/v3/order", "/api/v3/account", "/fapi/v1/order", "/fapi/v2/balance"][..],
                &[
                    "/sapi/v1/capital/withdraw/apply",
                    "/sapi/v1/asset/transfer",
                    "/sapi/v1/localentity/withdraw/apply",
                    "/sapi/v1/sub-account/universalTransfer",
                    "/sapi/v1/futures/transfer",
                    "/sapi/v1/giftcard/createCode",
                    "/wapi/v3/withdraw.html",
                ][..],
            ),
            (
                Exchange::Bybit,
                &["/v5/order/create", "/v5/position/list", "/v5/account/wallet-balance"],
                &[
                    "/v5/asset/withdraw/create",
                    "/v5/asset/transfer/inter-transfer",
                    "/v5/asset/transfer/universal-transfer",
                    "/v5/user/create-sub-api",
                    "/v5/user/update-api",
                    "/v5/user/create-sub-member",
                ],
            ),
            (
                Exchange::Okx,
                &["/api/v5/trade/order", "/api/v5/account/balance", "/api/v5/account/set-leverage"],
                &[
                    "/api/v5/asset/withdrawal",
                    "/api/v5/asset/transfer",
                    "/api/v5/users/subaccount/apikey",
                    "/api/v5/fiat/create-withdrawal",
                ],
            ),
            (
                Exchange::Kraken,
                &["/0/private/AddOrder", "/0/private/Balance"],
                &[
                    "/0/private/Withdraw",
                    "/0/private/WalletTransfer",
                    "/0/private/AccountTransfer",
                    "/0/private/CreateSubaccount",
                    "/0/private/GetWebSocketsToken",
                ],
            ),
            (
                Exchange::Coinbase,
                &["/api/v3/brokerage/orders", "/api/v3/brokerage/orders/historical/batch"],
                &[
                    "/v2/accounts/1/transactions",
                    "/api/v3/brokerage/portfolios/move_funds",
                    "/v2/accounts/1/withdrawals",
                ],
            ),
        ] {
            for path in trades {
                assert!(by_default(exchange, path), "{path}");
            }
            for path in leaves {
                assert!(!by_default(exchange, path), "{path}");
                assert!(is_guarded(path) || path.contains("Token"), "{path}");
            }
            assert!(hosts(exchange).iter().all(|host| HostName::parse(host).is_ok()));
        }
    }

    #[test]
    fn a_request_names_its_key_once() {
        let mut headers = HeaderMap::new();
        assert_eq!(key_in(Exchange::Okx, &headers), None);
        headers.append("ok-access-key", "one".parse().expect("a value"));
        assert_eq!(key_in(Exchange::Okx, &headers).as_deref(), Some(&b"one"[..]));
        assert_eq!(key_in(Exchange::Binance, &headers), None);
        headers.append("ok-access-key", "one".parse().expect("a value"));
        assert_eq!(key_in(Exchange::Okx, &headers), None);
        let token = format!("Bearer {}.e30.sig", URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"the key"}"#));
        headers.append("authorization", token.parse().expect("a value"));
        assert_eq!(key_in(Exchange::Coinbase, &headers).as_deref(), Some(&b"the key"[..]));
        for other in ["Bearer abc", "Bearer e30.e30.x", "Basic abc", "Bearer"] {
            headers.insert("authorization", other.parse().expect("a value"));
            assert_eq!(key_in(Exchange::Coinbase, &headers), None, "{other}");
        }
    }
}
