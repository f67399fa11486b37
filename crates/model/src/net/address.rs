//! Which addresses the gate connects to: those of the public Internet, whatever a name says.
//!
//! Source of the ranges: the IANA special-purpose registries for IPv4 and IPv6 (RFC 6890 and its updates) and the cloud
//! providers' documentation of their metadata services. Where IANA calls a special range reachable all the same (anycast
//! of PCP and AMT), it is refused here: nothing that a sandbox is for lives there.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// What kind of address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressClass {
    /// Routed in the Internet: the only one that the gate connects to.
    Public,
    /// 10/8, 172.16/12, 192.168/16.
    Private,
    /// 127/8, `::1`.
    Loopback,
    /// 169.254/16, `fe80::/10`.
    LinkLocal,
    /// 100.64/10: networks of carriers, also used by overlay networks.
    SharedCarrier,
    /// Where clouds hand out credentials to whoever asks.
    Metadata,
    /// `0.0.0.0`, `::`.
    Unspecified,
    /// The rest of 0/8, which some kernels take for the host itself.
    ThisNetwork,
    /// 224/4, `ff00::/8`.
    Multicast,
    /// 255.255.255.255.
    Broadcast,
    /// Examples in documents.
    Documentation,
    /// 198.18/15, `2001:2::/48`.
    Benchmarking,
    /// Whatever else is set aside or not assigned.
    Reserved,
    /// `fc00::/7`.
    UniqueLocal,
    /// `fec0::/10`.
    SiteLocal,
    /// `64:ff9b:1::/48`: a translator of the local network.
    LocalNat64,
    /// `2002::/16`: a tunnel to an IPv4 address.
    SixToFour,
    /// `2001::/32`: a tunnel to an IPv4 address.
    Teredo,
}

impl AddressClass {
    /// The class in a word, as it is logged.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link_local",
            Self::SharedCarrier => "shared_carrier",
            Self::Metadata => "metadata",
            Self::Unspecified => "unspecified",
            Self::ThisNetwork => "this_network",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Documentation => "documentation",
            Self::Benchmarking => "benchmarking",
            Self::Reserved => "reserved",
            Self::UniqueLocal => "unique_local",
            Self::SiteLocal => "site_local",
            Self::LocalNat64 => "local_nat64",
            Self::SixToFour => "six_to_four",
            Self::Teredo => "teredo",
        }
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// An address that the gate does not connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is not an address of the public Internet ({class})")]
pub struct Refused {
    /// As it was asked for.
    pub address: IpAddr,
    /// Why; for an address that stands for another one, the class of the inner one.
    pub class: AddressClass,
}

/// Whether the gate may connect to `address`. It does not know the addresses of the host itself: those are the caller's to
/// compare.
///
/// # Errors
/// [`Refused`] for all that is not [`AddressClass::Public`].
pub fn is_reachable(address: IpAddr) -> Result<(), Refused> {
    match classify(address) {
        AddressClass::Public => Ok(()),
        class => Err(Refused { address, class }),
    }
}

/// What kind of address it is. Mapped (`::ffff:0:0/96`) and translated (`64:ff9b::/96`) ones are of the class of the IPv4
/// address inside.
#[must_use]
pub fn classify(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

/// The first range that contains an address decides.
const V4: [(Ipv4Addr, u32, AddressClass); 23] = [
    // AWS, GCP, Azure, OpenStack and most others; Azure's host agent; Alibaba; Oracle.
    (Ipv4Addr::new(169, 254, 169, 254), 32, AddressClass::Metadata),
    (Ipv4Addr::new(168, 63, 129, 16), 32, AddressClass::Metadata),
    (Ipv4Addr::new(100, 100, 100, 200), 32, AddressClass::Metadata),
    (Ipv4Addr::new(192, 0, 0, 192), 32, AddressClass::Metadata),
    // AWS: credentials of containers (ECS, EKS).
    (Ipv4Addr::new(169, 254, 170, 2), 32, AddressClass::Metadata),
    (Ipv4Addr::new(169, 254, 170, 23), 32, AddressClass::Metadata),
    (Ipv4Addr::new(0, 0, 0, 0), 32, AddressClass::Unspecified),
    (Ipv4Addr::new(0, 0, 0, 0), 8, AddressClass::ThisNetwork),
    (Ipv4Addr::new(10, 0, 0, 0), 8, AddressClass::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, AddressClass::SharedCarrier),
    (Ipv4Addr::new(127, 0, 0, 0), 8, AddressClass::Loopback),
    (Ipv4Addr::new(169, 254, 0, 0), 16, AddressClass::LinkLocal),
    (Ipv4Addr::new(172, 16, 0, 0), 12, AddressClass::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, AddressClass::Reserved),
    (Ipv4Addr::new(192, 0, 2, 0), 24, AddressClass::Documentation),
    // The former anycast address of 6to4 relays (RFC 7526).
    (Ipv4Addr::new(192, 88, 99, 0), 24, AddressClass::Reserved),
    (Ipv4Addr::new(192, 168, 0, 0), 16, AddressClass::Private),
    (Ipv4Addr::new(198, 18, 0, 0), 15, AddressClass::Benchmarking),
    (Ipv4Addr::new(198, 51, 100, 0), 24, AddressClass::Documentation),
    (Ipv4Addr::new(203, 0, 113, 0), 24, AddressClass::Documentation),
    (Ipv4Addr::new(224, 0, 0, 0), 4, AddressClass::Multicast),
    (Ipv4Addr::new(255, 255, 255, 255), 32, AddressClass::Broadcast),
    (Ipv4Addr::new(240, 0, 0, 0), 4, AddressClass::Reserved),
];

fn v4(address: Ipv4Addr) -> AddressClass {
    let bits = address.to_bits();
    V4.iter()
        .find(|(net, length, _)| (bits ^ net.to_bits()).leading_zeros() >= *length)
        .map_or(AddressClass::Public, |(_, _, class)| *class)
}

/// The first range that contains an address decides. What is global unicast, and only that, is public in the end.
const V6: [(Ipv6Addr, u32, AddressClass); 15] = [
    // AWS, and GCP, over IPv6.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, AddressClass::Metadata),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, AddressClass::Metadata),
    (Ipv6Addr::UNSPECIFIED, 128, AddressClass::Unspecified),
    (Ipv6Addr::LOCALHOST, 128, AddressClass::Loopback),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, AddressClass::LocalNat64),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, AddressClass::Teredo),
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, AddressClass::Benchmarking),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, AddressClass::Reserved),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, AddressClass::Documentation),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, AddressClass::SixToFour),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, AddressClass::Documentation),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, AddressClass::UniqueLocal),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, AddressClass::LinkLocal),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, AddressClass::SiteLocal),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, AddressClass::Multicast),
];
const GLOBAL_UNICAST: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
const MAPPED: (Ipv6Addr, u32) = (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
const COMPATIBLE: (Ipv6Addr, u32) = (Ipv6Addr::UNSPECIFIED, 96);

fn v6(address: Ipv6Addr) -> AddressClass {
    let bits = address.to_bits();
    let within = |(net, length): (Ipv6Addr, u32)| (bits ^ net.to_bits()).leading_zeros() >= length;
    if let Some((_, _, class)) = V6.iter().find(|(net, length, _)| within((*net, *length))) {
        return *class;
    }
    let [.., a, b, c, d] = address.octets();
    let inner = v4(Ipv4Addr::new(a, b, c, d));
    if within(MAPPED) || within(NAT64) {
        return inner;
    }
    // Nothing has been reached by a compatible address since RFC 4291 withdrew them; the inner class says more than "reserved".
    if within(COMPATIBLE) && inner != AddressClass::Public {
        return inner;
    }
    if within(GLOBAL_UNICAST) { AddressClass::Public } else { AddressClass::Reserved }
}
