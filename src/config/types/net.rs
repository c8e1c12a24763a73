//! Networks, addresses of pages, and origins.

use super::{Raw, Value};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use url::Url;

/// A bare address is a network of one, as in every firewall's configuration.
impl Value for IpNet {
    fn parse(raw: &Raw) -> Result<Self, String> {
        let text = raw.one()?;
        let host = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse()
            .or_else(|_| host())
            .map_err(|_| "must be an IP address or a network such as 10.0.0.0/8".to_owned())
    }
}

/// A base for links. Credentials are refused, since the URL is shown where settings are listed.
impl Value for Url {
    fn parse(raw: &Raw) -> Result<Self, String> {
        let plain = |url: &Url| {
            let bare = url.username().is_empty() && url.password().is_none();
            let base = url.query().is_none() && url.fragment().is_none();
            is_web(url) && bare && base
        };
        Url::parse(raw.one()?).ok().filter(plain).ok_or_else(|| {
            "must be an http or https URL without credentials, query or fragment".to_owned()
        })
    }
}

/// An origin as browsers send it in `Origin`: lower case, without a default port, so that it can
/// be compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin(String);

impl Origin {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Value for Origin {
    fn parse(raw: &Raw) -> Result<Self, String> {
        let text = raw.one()?;
        let authority = text.split_once("://").map_or("", |(_, rest)| rest);
        let exact = !authority.contains(['/', '\\', '?', '#', '@', '*', ' ', '\t', '\n', '\r']);
        let url = Url::parse(text).ok().filter(|url| exact && !authority.is_empty() && is_web(url));
        url.map(|url| Self(url.origin().ascii_serialization()))
            .ok_or_else(|| "must be an exact origin such as https://shop.example".to_owned())
    }
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Value>(text: &str) -> Result<T, String> {
        T::parse(&Raw::Text(text.to_owned()))
    }

    #[test]
    fn a_bare_address_is_a_network_of_one() {
        assert_eq!(text::<IpNet>("10.1.2.3"), text("10.1.2.3/32"));
        assert_eq!(text::<IpNet>("fd00::1"), text("fd00::1/128"));
        assert!(text::<IpNet>("10.0.0.0/33").is_err());
        assert!(text::<IpNet>("proxy.internal").is_err());
    }

    #[test]
    fn an_origin_is_kept_as_browsers_send_it() {
        for given in ["https://shop.example", "https://SHOP.example:443"] {
            assert_eq!(text::<Origin>(given).unwrap().as_str(), "https://shop.example");
        }
        let local = text::<Origin>("http://localhost:3000").unwrap();
        assert_eq!(local.as_str(), "http://localhost:3000");
    }

    #[test]
    fn an_origin_is_exact() {
        let wrong = [
            "*",
            "null",
            "",
            "https://*.shop.example",
            "https://shop.example/",
            "shop.example",
            "https://shop.example/a",
            "https://a@shop.example",
            "file:///etc",
            "https:shop.example",
            "https://shop.example?a",
            "https://shop.example#a",
            "ftp://shop.example",
            "https://",
        ];
        for wrong in wrong {
            assert!(text::<Origin>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_public_url_holds_no_credentials() {
        assert!(text::<Url>("https://api.example/base").is_ok());
        for wrong in ["https://a:b@api.example", "https://api.example/?a=1", "mailto:a@b.example"] {
            assert!(text::<Url>(wrong).is_err(), "{wrong}");
        }
    }
}
