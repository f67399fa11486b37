use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use crate::net::AddressClass::*;
use crate::net::*;

#[track_caller]
fn check(text: &str, class: AddressClass) {
    let address: IpAddr = text.parse().expect("an address");
    assert_eq!(classify(address), class, "{text}");
    assert_eq!(is_reachable(address).is_ok(), class == Public, "{text}");
}

/// Both ends of each range, and what lies just outside.
#[test]
fn every_range_is_refused_at_both_edges() {
    for (before, first, last, after, class) in [
        ("", "0.0.0.1", "0.255.255.255", "1.0.0.0", ThisNetwork),
        ("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0", Private),
        ("100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0", SharedCarrier),
        ("126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0", Loopback),
        ("169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0", LinkLocal),
        ("172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0", Private),
        ("191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0", Reserved),
        ("192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0", Documentation),
        ("192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0", Reserved),
        ("192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0", Private),
        ("198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0", Benchmarking),
        ("198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0", Documentation),
        ("203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0", Documentation),
        ("223.255.255.255", "224.0.0.0", "239.255.255.255", "", Multicast),
        ("", "240.0.0.0", "255.255.255.254", "", Reserved),
        ("168.63.129.15", "168.63.129.16", "168.63.129.16", "168.63.129.17", Metadata),
        ("", "::2:0:0", "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "", Reserved),
        ("64:ff9b::ffff:ffff:ffff", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "", LocalNat64),
        ("", "100::", "100::ffff:ffff:ffff:ffff", "", Reserved),
        ("", "1fff:ffff::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2000::", Reserved),
        ("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "", Teredo),
        ("", "2001:1::", "2001:1:ffff:ffff:ffff:ffff:ffff:ffff", "", Reserved),
        ("", "2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", "", Benchmarking),
        ("", "2001:2:1::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::", Reserved),
        (
            "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db9::",
            Documentation,
        ),
        (
            "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "2002::",
            "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "2003::",
            SixToFour,
        ),
        (
            "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "3fff::",
            "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
            "3fff:1000::",
            Documentation,
        ),
        ("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", Reserved),
        ("", "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", Reserved),
        ("", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", UniqueLocal),
        ("", "fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", Reserved),
        ("", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", LinkLocal),
        ("", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", SiteLocal),
        ("", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", Multicast),
    ] {
        check(first, class);
        check(last, class);
        for outside in [before, after] {
            match outside.parse::<IpAddr>() {
                Ok(IpAddr::V6(a)) if a.segments()[..2] == [0x64, 0xff9b] => check(outside, Reserved),
                Ok(_) => check(outside, Public),
                Err(_) => assert_eq!(outside, ""),
            }
        }
    }
}

/// Threats D57 to D59.
#[test]
fn single_addresses_of_note_are_refused() {
    for (text, class) in [
        ("0.0.0.0", Unspecified),
        ("::", Unspecified),
        ("::1", Loopback),
        ("255.255.255.255", Broadcast),
        ("169.254.169.254", Metadata),
        ("169.254.170.2", Metadata),
        ("168.63.129.16", Metadata),
        ("100.100.100.200", Metadata),
        ("192.0.0.192", Metadata),
        ("fd00:ec2::254", Metadata),
        ("fd20:ce::254", Metadata),
        ("::ffff:127.0.0.1", Loopback),
        ("::ffff:169.254.169.254", Metadata),
        ("::ffff:0.0.0.0", Unspecified),
        ("::ffff:10.0.0.1", Private),
        ("::ffff:255.255.255.255", Broadcast),
        ("::127.0.0.1", Loopback),
        ("::10.0.0.1", Private),
        ("::169.254.169.254", Metadata),
        ("::8.8.8.8", Reserved),
        ("::ffff:0:8.8.8.8", Reserved),
        ("64:ff9b::7f00:1", Loopback),
        ("64:ff9b::10.0.0.1", Private),
        ("64:ff9b::169.254.169.254", Metadata),
        ("64:ff9b:1::808:808", LocalNat64),
        ("2002:7f00:1::", SixToFour),
        ("2002:808:808::1", SixToFour),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Teredo),
    ] {
        check(text, class);
    }
    for text in [
        "8.8.8.8",
        "1.1.1.1",
        "151.101.0.223",
        "2606:4700:4700::1111",
        "2a04:4e42::223",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
    ] {
        check(text, Public);
    }
    let refused = is_reachable(IpAddr::from([10, 0, 0, 1])).expect_err("private").to_string();
    assert!(refused.contains("10.0.0.1") && refused.contains("(private)"), "{refused}");
}

proptest! {
    #[test]
    fn an_address_within_another_is_judged_alike(bits in any::<u32>()) {
        let inner = Ipv4Addr::from_bits(bits);
        let class = classify(IpAddr::V4(inner));
        prop_assert_eq!(classify(IpAddr::V6(inner.to_ipv6_mapped())), class);
        let nat64 = Ipv6Addr::from_bits(0x64_ff9b << 96 | u128::from(bits));
        prop_assert_eq!(classify(IpAddr::V6(nat64)), class);
        let compatible = IpAddr::V6(Ipv6Addr::from_bits(u128::from(bits)));
        prop_assert!(is_reachable(compatible).is_err());
    }

    /// The standard library's own judgements, where it has stable ones, are never more severe than ours.
    #[test]
    fn what_the_standard_library_calls_special_is_refused(bits in any::<u32>(), wide in any::<u128>()) {
        let a = Ipv4Addr::from_bits(bits);
        let special = a.is_private() || a.is_loopback() || a.is_link_local() || a.is_multicast() || a.is_broadcast()
            || a.is_documentation() || a.is_unspecified();
        prop_assert!(!special || is_reachable(a.into()).is_err());
        let b = Ipv6Addr::from_bits(wide);
        let special = b.is_loopback() || b.is_multicast() || b.is_unspecified() || b.is_unique_local() || b.is_unicast_link_local();
        prop_assert!(!special || is_reachable(b.into()).is_err());
    }
}
