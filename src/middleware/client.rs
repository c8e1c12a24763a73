//! The client's address: the peer's, unless the peer is a trusted proxy that tells of another.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

use crate::config::{ForwardedHeader, Server};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of the connection's other end, put into each request by the listener.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

#[derive(Clone)]
pub struct ClientAddress {
    header: ForwardedHeader,
    trusted: Vec<IpNet>,
}

impl ClientAddress {
    pub fn new(server: &Server) -> Self {
        Self { header: server.forwarded_header, trusted: server.trusted_proxies.clone() }
    }

    /// From the right, the first address that is not a trusted proxy: everything further left
    /// was written by somebody we have no reason to believe.
    pub fn resolve(&self, peer: Option<Peer>, headers: &HeaderMap) -> IpAddr {
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.0.ip()).to_canonical();
        if !self.is_trusted(peer) {
            return peer;
        }
        let mut client = peer;
        for hop in self.hops(headers).into_iter().rev() {
            match hop {
                Some(address) if self.is_trusted(address) => client = address,
                Some(address) => return address,
                None => return client,
            }
        }
        client
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.header != ForwardedHeader::None
            && self.trusted.iter().any(|network| network.contains(&address))
    }

    /// Left to right, `None` for what is no address (`unknown`, obfuscated names).
    fn hops(&self, headers: &HeaderMap) -> Vec<Option<IpAddr>> {
        let name = match self.header {
            ForwardedHeader::None => return Vec::new(),
            ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => header::FORWARDED,
        };
        let values = headers.get_all(name).iter();
        let elements = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        // What is no text is an element all the same: it must not hide those beside it.
        let texts = elements.map(|element| std::str::from_utf8(element).unwrap_or_default());
        match self.header {
            ForwardedHeader::Forwarded => texts.map(forwarded_for).collect(),
            _ => texts.map(parse_node).collect(),
        }
    }
}

/// The `for` parameter of one element (RFC 7239, section 4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let node = pairs.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("for"))?.1;
    parse_node(node.trim().trim_matches('"'))
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn parse_node(node: &str) -> Option<IpAddr> {
    let node = node.trim();
    let bare = node.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(node);
    let address = bare.parse::<IpAddr>().ok();
    let address = address.or_else(|| node.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(header: ForwardedHeader, peer: &str, values: &[&str]) -> String {
        let name = match header {
            ForwardedHeader::Forwarded => "forwarded",
            _ => "x-forwarded-for",
        };
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let trusted = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let client = ClientAddress { header, trusted };
        client.resolve(Some(Peer(peer.parse().unwrap())), &headers).to_string()
    }

    #[test]
    fn a_peer_that_is_not_trusted_cannot_name_another_address() {
        let xff = ForwardedHeader::XForwardedFor;
        assert_eq!(resolve(xff, "203.0.113.9:1", &["198.51.100.7"]), "203.0.113.9");
        assert_eq!(resolve(ForwardedHeader::None, "10.0.0.1:1", &["198.51.100.7"]), "10.0.0.1");
    }

    #[test]
    fn behind_trusted_proxies_the_rightmost_other_address_counts() {
        let xff = ForwardedHeader::XForwardedFor;
        assert_eq!(
            resolve(xff, "10.0.0.1:1", &["1.1.1.1, 198.51.100.7, 10.0.0.2"]),
            "198.51.100.7"
        );
        assert_eq!(resolve(xff, "10.0.0.1:1", &["1.1.1.1", "198.51.100.7"]), "198.51.100.7");
        assert_eq!(resolve(xff, "10.0.0.1:1", &["1.1.1.1, garbage, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(resolve(xff, "10.0.0.1:1", &["\u{ff}, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(resolve(xff, "10.0.0.1:1", &[]), "10.0.0.1");
        assert_eq!(resolve(xff, "[fd00::1]:1", &["[2001:db8::7]:4711"]), "2001:db8::7");
        assert_eq!(resolve(xff, "[::ffff:10.0.0.1]:1", &["198.51.100.7:80"]), "198.51.100.7");
    }

    #[test]
    fn the_standard_header_is_read_as_rfc_7239_writes_it() {
        let forwarded = ForwardedHeader::Forwarded;
        let value = "for=1.1.1.1, For=\"[2001:db8::7]:4711\";proto=https;by=10.0.0.1";
        assert_eq!(resolve(forwarded, "10.0.0.1:1", &[value]), "2001:db8::7");
        assert_eq!(resolve(forwarded, "10.0.0.1:1", &["for=unknown"]), "10.0.0.1");
    }
}
