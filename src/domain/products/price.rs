//! Money: an integer in minor units beside an ISO 4217 code.

use super::super::faults::Faults;
use crate::error::{Error, Result};

/// In minor units: ten thousand million of most currencies.
pub const MAX_AMOUNT: i64 = 1_000_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    pub amount: i64,
    pub currency: Currency,
}

impl Price {
    pub fn parse(amount: i64, currency: &str) -> Result<Self> {
        let mut faults = Faults::default();
        faults.take(match (0..=MAX_AMOUNT).contains(&amount) {
            true => Ok(()),
            false => Err(Error::invalid_field(
                "price.amount",
                "range",
                "must be from 0 to 1000000000000",
            )),
        });
        let currency = faults.take(Currency::parse(currency));
        faults.end()?;
        let currency = currency.ok_or_else(|| Error::internal("neither a currency nor a fault"))?;
        Ok(Self { amount, currency })
    }
}

/// A currency that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Currency(&'static str);

impl Currency {
    pub fn parse(code: &str) -> Result<Self> {
        let found = CURRENCIES.iter().find(|known| **known == code);
        found.map(|known| Self(known)).ok_or_else(|| {
            Error::invalid_field("price.currency", "currency", "must be a code of ISO 4217")
        })
    }

    pub fn as_str(self) -> &'static str {
        self.0
    }
}

/// ISO 4217 as of 2026, without funds, metals and codes for testing.
#[rustfmt::skip]
pub const CURRENCIES: &[&str] = &[
    "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BHD",
    "BIF", "BMD", "BND", "BOB", "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHF",
    "CLP", "CNY", "COP", "CRC", "CUP", "CVE", "CZK", "DJF", "DKK", "DOP", "DZD", "EGP", "ERN",
    "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GHS", "GIP", "GMD", "GNF", "GTQ", "GYD", "HKD",
    "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IQD", "IRR", "ISK", "JMD", "JOD", "JPY", "KES",
    "KGS", "KHR", "KMF", "KPW", "KRW", "KWD", "KYD", "KZT", "LAK", "LBP", "LKR", "LRD", "LSL",
    "LYD", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR", "MVR", "MWK", "MXN",
    "MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "OMR", "PAB", "PEN", "PGK", "PHP",
    "PKR", "PLN", "PYG", "QAR", "RON", "RSD", "RUB", "RWF", "SAR", "SBD", "SCR", "SDG", "SEK",
    "SGD", "SHP", "SLE", "SOS", "SRD", "SSP", "STN", "SVC", "SYP", "SZL", "THB", "TJS", "TMT",
    "TND", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "UGX", "USD", "UYU", "UZS", "VES", "VND",
    "VUV", "WST", "XAF", "XCD", "XCG", "XOF", "XPF", "YER", "ZAR", "ZMW", "ZWG",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_of_three_letters() {
        assert!(CURRENCIES.is_sorted());
        assert!(CURRENCIES.iter().all(|code| code.len() == 3));
    }

    #[test]
    fn a_price_is_bounded_and_its_currency_known() {
        assert!(Price::parse(0, "EUR").is_ok() && Price::parse(MAX_AMOUNT, "JPY").is_ok());
        for (amount, code) in
            [(-1, "EUR"), (MAX_AMOUNT + 1, "EUR"), (1, "eur"), (1, "ABC"), (1, "")]
        {
            assert!(Price::parse(amount, code).is_err(), "{amount} {code}");
        }
    }
}
